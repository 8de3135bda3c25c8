"""The documentation says what is there: nothing is missing from it, and nothing in it is made up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from detectors.traces.rules import RULES
from dimwatch import records
from dimwatch.app.configuration import setting_names, variable
from dimwatch.cli import COMMANDS, main
from dimwatch.store.sink import VIEWS
from tests.docs import generated
from tests.docs.generated import DOCS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_PATH = re.compile(r"`((?:dimwatch|ingest|detectors|dashboard|tests|benchmarks|docs)/[\w./]*\w\.?\w*/?)`")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _everything() -> str:
    return "\n".join(_text(page) for page in PAGES)


@pytest.mark.parametrize(("page", "wanted"), list(generated.pages()), ids=lambda value: getattr(value, "name", ""))
def test_generated_parts_are_up_to_date(page: Path, wanted: str) -> None:
    assert _text(page) == wanted, "run `python -m tests.docs.generated`"


def test_every_setting_is_explained() -> None:
    page = _text(DOCS / "settings.md")
    for name in setting_names():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` | `{variable(name)}` |")), "")
        assert row.split("|")[-2].strip(), f"{name} has no description"


def test_every_metric_is_explained() -> None:
    page = _text(DOCS / "metrics.md")
    for name, metric in generated.metrics().items():
        assert f"| `{name}` |" in page
        assert next(iter(metric.describe())).documentation


def test_every_convention_file_is_in_use_and_explained() -> None:
    page = _text(DOCS / "conventions.md")
    for name in generated.convention_modules():
        assert f"| `{name}.py` |" in page, f"ingest/conventions/{name}.py is not in FIELD_ORDER, or the page is old"


@pytest.mark.parametrize("topic", records.SCHEMAS)
def test_every_column_is_explained_and_no_other(topic: str) -> None:
    name = VIEWS[topic]
    section = re.split(r"^## ", _text(DOCS / "tables.md"), flags=re.MULTILINE)
    rows = next(part for part in section if part.startswith(f"{name}\n"))
    table = rows.split("\n\n| stage | reasons |")[0]
    explained = re.findall(r"^\| `(\w+)` \| \S", table, flags=re.MULTILINE)
    assert explained == records.SCHEMAS[topic].names


def test_every_rule_is_explained() -> None:
    page = _text(DOCS / "rules.md")
    for rule in RULES:
        assert re.search(rf"^#+ .*\b{rule.name}\b", page, flags=re.MULTILINE), f"docs/rules.md: no heading {rule.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_examples_and_a_place_in_the_docs(name: str) -> None:
    module, summary = COMMANDS[name]
    command = getattr(import_module(module), name)
    assert isinstance(command, click.Command)
    assert "Examples:" in (command.help or "")
    assert summary
    assert f"dimwatch {name}" in _everything() or f"`{name}`" in _everything() or f"| {name} |" in _everything()


def _commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for code in _CODE.findall(_text(page)):
            for words in re.findall(r"(?:^|[`$|\n/]\s*)((?:dimwatch|make|python) [^\n|`#]+)", code):
                yield page.name, words.split()


def test_commands_in_the_docs_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", _text(ROOT / "Makefile"), flags=re.MULTILINE))
    seen = set()
    for page, (program, *words) in _commands():
        name = words[0]
        if program == "make":
            assert name in targets, f"{page}: make {name}"
        elif program == "python":
            module = words[words.index("-m") + 1] if "-m" in words else ""
            place = module.replace(".", "/")
            known = (ROOT / f"{place}.py").is_file() or (ROOT / place / "__main__.py").is_file()
            assert known or not module, f"{page}: python -m {module}"
        elif not name.startswith("-"):
            assert name in COMMANDS, f"{page}: dimwatch {name}"
            flags = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
            command = main.get_command(click.Context(main), name)
            assert command is not None
            if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
                assert words[1] in command.commands, f"{page}: dimwatch {name} {words[1]}"
                command = command.commands[words[1]]
            options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            assert flags <= options | {"--help"}, f"{page}: dimwatch {name} {flags - options}"
        seen.add((program, name))
    assert {("make", "demo"), ("make", "up"), ("make", "install"), ("make", "test"), ("dimwatch", "replay")} <= seen


def test_the_readme_opens_with_the_four_commands() -> None:
    lines = _text(ROOT / "README.md").splitlines()[:12]
    assert [line.split()[1] for line in lines if line.startswith("make ")] == ["demo", "up", "install", "test"]


def test_help_is_what_the_readme_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dimwatch", "--help"], capture_output=True, text=True, check=True
    )
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", _text(page))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", _text(path), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_settings_and_metrics_that_are_named_exist(page: Path) -> None:
    text = _text(page)
    for path in _PATH.findall(text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
    settings, groups = set(setting_names()), {name.partition(".")[0] for name in setting_names() if "." in name}
    for name in re.findall(rf"`((?:{'|'.join(groups)})\.[a-z_]+)`", text):
        assert name in settings or name.endswith((".md", ".py")), f"{page.name}: {name}"
    for name in re.findall(r"DIMWATCH_[A-Z_]+\b", text):
        known = {variable(setting) for setting in settings} | {"DIMWATCH_", "DIMWATCH_TEST_CLICKHOUSE"}
        assert name in known, f"{page.name}: {name}"
    metrics = set(generated.metrics())
    for name in re.findall(r"\bdimwatch_[a-z_]+\b", text):
        assert name in metrics, f"{page.name}: {name}"


def test_decisions_are_numbered_and_listed() -> None:
    pages = sorted((DOCS / "adr").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    index = _text(DOCS / "adr" / "README.md")
    for page in pages:
        number, title = int(page.name[:4]), _text(page).splitlines()[0]
        assert title.startswith(f"# {number}. ")
        assert f"| [{number}]({page.name}) | {title.removeprefix(f'# {number}. ')}" in index
