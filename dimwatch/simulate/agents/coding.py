"""Coding agent: many short steps over a repository. Very bursty: one job starts a dozen."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, integer, string, words
from dimwatch.simulate.models import GPT, GPT_MINI

_FILES: Final = ("src/billing/invoice.py", "src/api/routes.py", "src/jobs/export.py", "tests/test_export.py")
_CODE: Final = (
    "def export(rows, target):\n    if not rows:\n        raise ValueError('nothing to export')\n"
    "    with target.open('w') as file:\n        for row in rows:\n            file.write(row.to_csv())\n",
    "try:\n    response = client.get(url, timeout=10)\nexcept TimeoutError as error:\n"
    "    log.error('export failed: %s', error)\n    raise\n",
    "class Invoice:\n    total: Decimal\n    lines: list[Line]\n\n    def tax(self) -> Decimal:\n"
    "        return sum(line.tax for line in self.lines)\n",
)
_ANSWERS: Final = (
    "The export wrote the header twice when the list was empty; I moved the check before the file is opened.",
    "I added a test that fails without the change.",
    "All tests pass now.",
    "The public function keeps its signature, so callers need no change.",
    "I left the retry logic alone: it belongs to another ticket.",
)

CODING: Final = Agent(
    name="coding_agent",
    service="coding-agent",
    release="5.2.1",
    convention="otel_genai_logs",
    models={GPT: 0.7, GPT_MINI: 0.3},
    system="You are a coding agent. Read before you write, change little, run the tests, report what you did.",
    tools=(
        Tool(
            "read_file",
            "Read a file of the repository.",
            {"path": string("Path from the root"), "first_line": integer("Start here", minimum=1)},
            ["path"],
            lambda rng: {"path": rng.choice(_FILES), "first_line": rng.choice([1, 1, 40])},
            # Source code that speaks of errors is a good result.
            lambda rng, args: rng.choice(_CODE),
            empty="",
            median_s=0.02,
        ),
        Tool(
            "search_code",
            "Find a pattern in the repository.",
            {"pattern": string("Regular expression"), "glob": string("Only these files")},
            ["pattern"],
            lambda rng: {"pattern": rng.choice(["raise .*Error", "def export", "TODO"]), "glob": "*.py"},
            lambda rng, args: "\n".join(
                f"{rng.choice(_FILES)}:{rng.randint(3, 300)}: "
                + rng.choice(["raise ValueError('nothing to export')", "def export(rows, target):", "# TODO: retry"])
                for _ in range(rng.randint(1, 4))
            ),
            empty="",
            median_s=0.08,
        ),
        Tool(
            "run_tests",
            "Run the tests and return the summary.",
            {"path": string("Folder or file")},
            ["path"],
            lambda rng: {"path": rng.choice(["tests", "tests/test_export.py"])},
            lambda rng, args: {
                "exit_code": 0,
                "summary": f"{rng.randint(20, 400)} passed, 0 failed in {rng.uniform(2, 40):.1f}s",
            },
            empty=None,
            median_s=9.0,
            sigma=0.8,
        ),
        Tool(
            "apply_patch",
            "Apply a unified diff.",
            {"path": string("File to change"), "diff": string("The change")},
            ["path", "diff"],
            lambda rng: {
                "path": rng.choice(_FILES),
                "diff": f"@@ -{rng.randint(1, 90)},2 +{rng.randint(1, 90)},3 @@\n-    old()\n+    new()\n",
            },
            lambda rng, args: {"applied": True, "path": args["path"], "hunks": rng.randint(1, 3)},
            empty={},
            median_s=0.03,
        ),
    ),
    question=lambda rng: f"Fix ticket ENG-{rng.randint(100, 999)}: the export fails for empty customers.",
    answer=lambda rng: words(rng, _ANSWERS, 2, 4),
    # AzureLLMInferenceTrace_code (2023): input mu 7.00 sigma 1.36, output mu 2.79 sigma 0.85;
    # counts in windows of 10 s are over-dispersed like a gamma of shape 0.36.
    input_tokens=(7.6, 0.9),
    output_tokens=(4.2, 0.85),
    tool_steps=(2, 6),
    share=0.16,
    burst_shape=0.36,
    users=40,
    continues=0.15,
    streams=True,
)
