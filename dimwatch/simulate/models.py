"""The language models of the fleet: who serves them, how fast they answer, what goes wrong with them.

Medians and log-normal sigmas (from the inter-quartile range) of time to first token and tokens a second
are those of the probes of thefastest.ai (April 2024, region "sea", about 95 probes a model):
gpt-4-0125-preview, gpt-3.5-turbo-0125, claude-3-sonnet, and gemini-pro. The provider of the last answers in
few large chunks, so that its tokens a second say little: those of claude-3-haiku stand in.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from random import Random
from typing import Final

NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed, as an exception reports it."""

    type: str
    message: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """One model as an agent asks for it. Times in seconds, rates in tokens a second."""

    name: str
    answered: str
    provider: str
    other_family: str
    """What answers in its place when a gateway falls back without saying so."""
    first_token_median: float
    first_token_sigma: float
    rate_median: float
    rate_sigma: float
    host: str
    failures: tuple[Failure, ...]

    def latency(self, rng: Random, output_tokens: int) -> tuple[int, int]:
        """Draw (time to first token, time to the last), in nanoseconds."""
        first = rng.lognormvariate(log(self.first_token_median), self.first_token_sigma)
        rate = rng.lognormvariate(log(self.rate_median), self.rate_sigma)
        return int(first * NS), int((first + output_tokens / rate) * NS)


_OPENAI_FAILURES: Final = (
    Failure("openai.RateLimitError", "Error code: 429 - Rate limit reached for requests", 429),
    Failure(
        "openai.InternalServerError",
        "Error code: 500 - The server had an error while processing your request",
        500,
    ),
    Failure("openai.APITimeoutError", "Request timed out."),
)
_ANTHROPIC_FAILURES: Final = (
    Failure(
        "anthropic.RateLimitError",
        "Error code: 429 - This request would exceed your organization's rate limit",
        429,
    ),
    Failure("anthropic.InternalServerError", "Error code: 529 - Overloaded", 529),
    Failure("anthropic.APITimeoutError", "Request timed out or interrupted."),
)
_GOOGLE_FAILURES: Final = (
    Failure(
        "google.genai.errors.ClientError",
        "429 RESOURCE_EXHAUSTED. Quota exceeded for requests per minute",
        429,
    ),
    Failure("google.genai.errors.ServerError", "503 UNAVAILABLE. The model is overloaded.", 503),
    Failure("TimeoutError", "The request timed out after 60 seconds"),
)

GPT: Final = LanguageModel(
    "gpt-4.1", "gpt-4.1-2025-04-14", "openai", "gpt-4o-mini-2024-07-18",
    0.593, 0.29, 37.3, 0.35, "api.openai.com", _OPENAI_FAILURES,
)  # fmt: skip
GPT_MINI: Final = LanguageModel(
    "gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "openai", "gpt-3.5-turbo-0125",
    0.438, 0.34, 67.8, 0.26, "api.openai.com", _OPENAI_FAILURES,
)  # fmt: skip
SONNET: Final = LanguageModel(
    "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic", "claude-3-5-haiku-20241022",
    0.617, 0.15, 74.9, 0.30, "api.anthropic.com", _ANTHROPIC_FAILURES,
)  # fmt: skip
FLASH: Final = LanguageModel(
    "gemini-2.5-flash", "gemini-2.5-flash", "google", "gemini-2.0-flash-lite",
    1.038, 0.17, 104.5, 0.39, "generativelanguage.googleapis.com", _GOOGLE_FAILURES,
)  # fmt: skip

MODELS: Final = (GPT, GPT_MINI, SONNET, FLASH)
PROVIDERS: Final = tuple(sorted({model.provider for model in MODELS}))
