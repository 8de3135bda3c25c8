"""Research assistant: searches, reads pages, and hands claims to a fact checker, an agent of its own."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, integer, string, words
from dimwatch.simulate.models import GPT, SONNET

_SUBJECTS: Final = (
    "heat pumps in old buildings",
    "sodium-ion batteries for buses",
    "remote work and office rents",
    "the cost of offshore wind",
    "lab-grown leather",
)
_FINDINGS: Final = (
    "Recent field studies agree on the direction of the effect but not on its size.",
    "The largest data set covers eleven countries and four years.",
    "Costs fell by about a third since 2019, mostly through larger factories.",
    "Two of the five sources are financed by the industry and should be read with care.",
    "Regulation differs so much between states that averages mislead.",
    "The failure rate in the first year is reported as four to six percent.",
)
_PAGES: Final = (
    "Results. In 214 buildings the seasonal performance factor was 3.1 on average, with a wide spread. "
    "Failures in the first winter were rare, and most errors were made at installation.",
    "Abstract. We review 48 studies published since 2018. Effects differ by region; the median is an increase "
    "of 12 percent. Limitations are discussed in section 5.",
    "Market note. Orders rose for the third quarter in a row while prices stayed flat. Analysts expect a "
    "slower year, with exceptions in the north.",
)

FETCH: Final = Tool(
    "fetch_page",
    "Download a web page as text.",
    {
        "url": string("Address of the page", format="uri"),
        "max_chars": integer("Cut after so many", minimum=100),
    },
    ["url"],
    lambda rng: {"url": f"https://example.org/articles/{rng.randint(100, 999)}", "max_chars": 4000},
    lambda rng, args: rng.choice(_PAGES),
    empty="",
    median_s=0.8,
    sigma=0.7,
)
_SEARCH: Final = Tool(
    "web_search",
    "Search the web.",
    {"query": string("What to look for"), "limit": integer("Most results", minimum=1, maximum=20)},
    ["query"],
    lambda rng: {
        "query": rng.choice(_SUBJECTS) + rng.choice([" study", " review", " 2025"]),
        "limit": rng.randint(3, 8),
    },
    lambda rng, args: {
        "results": [
            {"title": rng.choice(_FINDINGS), "url": f"https://example.org/articles/{rng.randint(100, 999)}"}
            for _ in range(rng.randint(2, 5))
        ]
    },
    empty={"results": []},
    median_s=0.6,
)

FACT_CHECKER: Final = Agent(
    name="fact_checker",
    service="research-assistant",
    release="0.9.3",
    convention="openinference",
    models={SONNET: 1.0},
    system="You check one claim against its source and say whether the source supports it.",
    tools=(FETCH,),
    question=lambda rng: "Check: " + rng.choice(_FINDINGS),
    answer=lambda rng: rng.choice(
        ["The source supports the claim.", "The source supports the claim in part: the period differs."]
    ),
    input_tokens=(7.0, 0.6),
    output_tokens=(4.0, 0.5),
    tool_steps=(1, 1),
    share=0.0,
    burst_shape=18.0,
)

RESEARCH: Final = Agent(
    name="research_assistant",
    service="research-assistant",
    release="0.9.3",
    convention="openinference",
    models={SONNET: 0.8, GPT: 0.2},
    system=(
        "You are a careful research assistant. Search, read the sources, have important claims checked by "
        "the fact checker, and write a short report that names its sources."
    ),
    tools=(_SEARCH, FETCH),
    question=lambda rng: f"What is known about {rng.choice(_SUBJECTS)}? Keep it under 300 words.",
    answer=lambda rng: words(rng, _FINDINGS, 3, 5),
    # Mooncake conversation trace (FAST 2025): input mu 8.74 sigma 1.20, output mu 5.34 (median 350).
    input_tokens=(8.74, 0.9),
    output_tokens=(5.6, 0.6),
    tool_steps=(2, 4),
    share=0.12,
    burst_shape=6.0,
    users=120,
    parallel_tools=0.3,
    delegate=FACT_CHECKER,
)
