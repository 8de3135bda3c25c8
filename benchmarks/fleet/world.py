"""The fleet: three providers with two models each, six agents, their tools, traffic and habits.

Where the figures come from: time to first token and tokens a second (median, sigma of the logarithm by the
inter-quartile range) are those of the probes of thefastest.ai, April 2024, of gpt-3.5-turbo, gpt-4-turbo,
claude-3-sonnet, claude-3-haiku, command-r-plus and gemini-1.5-pro; token lengths follow the Azure LLM inference trace
of 2023 (conversation: input 1,020 with sigma 0.99, output 129 with 0.86; code: input 1,469 with 1.36) and Mooncake's
conversations (input 6,909 with 1.20, output 350 with 0.82); the shape of the day is that of ServeGen's reasoning
workload (0.6 at night, 1.7 at the peak, in the mean over clients), flattened, since an agent's peak is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is asked for. Seconds, tokens a second; sigmas of logarithms."""

    name: str
    answered: str
    successor: str
    """What answers after a change that nobody announced."""
    provider: str
    first_token: tuple[float, float]
    speed: tuple[float, float]
    reasoning: float
    """Median of the reasoning tokens of a call, 0 for a model that does not reason."""
    host: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool and its latency in seconds (median, sigma of the logarithm)."""

    name: str
    latency: tuple[float, float]
    empty: float = 0.03


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent: one service, two models, several tools."""

    name: str
    service: str
    rate: float
    """Traces a second, the mean over a day."""
    peak_h: float
    swing: float
    """How far the day's shape goes up and down from one."""
    models: tuple[int, int]
    """Indices into MODELS; the first answers three traces in four, the second is also what failures fall back to."""
    tools: tuple[tuple[int, float], ...]
    """Indices into TOOLS with weights."""
    rounds: float
    """Mean of the rounds of tool calls of a run."""
    input_tokens: tuple[float, float]
    output_tokens: tuple[float, float]
    first_token_attribute: str | None
    """None: it does not stream."""


MODELS: Final = (
    Model(
        "gpt-5-mini", "gpt-5-mini-2025-08-07", "gpt-5-mini-2025-11-20", "openai",
        (0.438, 0.34), (67.8, 0.26), 96.0, "api.openai.com",
    ),
    Model(
        "gpt-4.1", "gpt-4.1-2025-04-14", "gpt-4.1-2025-10-01", "openai",
        (0.581, 0.24), (30.6, 0.32), 0.0, "api.openai.com",
    ),
    Model(
        "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20251114", "anthropic",
        (0.617, 0.15), (74.9, 0.30), 0.0, "api.anthropic.com",
    ),
    Model(
        "claude-haiku-4-5", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20251201", "anthropic",
        (0.342, 0.17), (104.5, 0.39), 0.0, "api.anthropic.com",
    ),
    Model(
        "gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash-002", "gcp.gemini",
        (0.208, 0.44), (130.0, 0.34), 64.0, "generativelanguage.googleapis.com",
    ),
    Model(
        "gemini-2.5-pro", "gemini-2.5-pro", "gemini-2.5-pro-002", "gcp.gemini",
        (1.650, 0.19), (85.0, 0.25), 220.0, "generativelanguage.googleapis.com",
    ),
)  # fmt: skip

TOOLS: Final = (
    Tool("lookup_customer", (0.12, 0.55)),
    Tool("find_parcel", (0.35, 0.60)),
    Tool("quote_refund", (0.22, 0.45)),
    Tool("search_web", (0.80, 0.70)),
    Tool("get_fares", (1.60, 0.60)),
    Tool("hold_seat", (0.60, 0.50)),
    Tool("query_ledger", (0.28, 0.75)),
    Tool("fx_rates", (0.09, 0.40), 0.01),
    Tool("read_file", (0.03, 0.50), 0.02),
    Tool("run_tests", (6.50, 0.80)),
    Tool("search_policies", (0.42, 0.50)),
    Tool("fetch_page", (1.10, 0.85)),
)

AGENTS: Final = (
    Agent(
        "order_desk", "order-desk", 0.10, 14.0, 0.45, (0, 3), ((0, 0.4), (1, 0.4), (2, 0.2)), 1.4,
        (1020, 0.70), (129, 0.75), "gen_ai.response.time_to_first_chunk",
    ),
    Agent(
        "trip_scout", "trip-scout", 0.06, 19.0, 0.50, (4, 1), ((3, 0.3), (4, 0.5), (5, 0.2)), 2.2,
        (2200, 0.80), (180, 0.80), "gen_ai.response.time_to_first_chunk",
    ),
    Agent(
        "ledger_clerk", "ledger-clerk", 0.05, 10.5, 0.60, (2, 0), ((6, 0.6), (0, 0.25), (7, 0.15)), 2.0,
        (1500, 0.80), (110, 0.70), "gen_ai.server.time_to_first_token",
    ),
    Agent(
        "code_mender", "code-mender", 0.03, 15.5, 0.50, (2, 5), ((8, 0.55), (9, 0.3), (3, 0.15)), 4.0,
        (6900, 0.90), (350, 0.82), "gen_ai.response.time_to_first_chunk",
    ),
    Agent(
        "policy_guide", "policy-guide", 0.08, 11.5, 0.40, (3, 4), ((10, 0.75), (0, 0.25)), 1.2,
        (1470, 0.70), (150, 0.80), "gen_ai.response.time_to_first_chunk",
    ),
    Agent(
        "news_digest", "news-digest", 0.02, 7.0, 0.35, (1, 5), ((3, 0.45), (11, 0.55)), 3.0,
        (4100, 0.80), (420, 0.80), None,
    ),
)  # fmt: skip
PROVIDERS: Final = tuple(dict.fromkeys(model.provider for model in MODELS))
