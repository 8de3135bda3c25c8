"""Scheduled effects on the whole fleet, by virtual time: what an operator should notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What an effect does."""

    BROWNOUT = "brownout"
    """A provider answers four times as slowly, and three calls in ten fail."""
    OUTAGE = "outage"
    """Nearly all calls to a provider fail."""
    PROVIDER_ERRORS = "provider_errors"
    """Eight calls in a hundred to a provider fail; a retry saves nearly all of them."""
    MODEL_CHANGE = "model_change"
    """Another model or version answers under the same name."""
    REASONING = "reasoning"
    """A model thinks longer: three times as many output tokens."""
    TRUNCATION = "truncation"
    """One in ten of a model's last answers is cut off at the token limit."""
    EMPTY_TOOL = "empty_tool"
    """A tool finds nothing any more, without an error."""
    SLOW_TOOL = "slow_tool"
    """A tool takes 2.2 times as long."""
    SWALLOWED_ERRORS = "swallowed_errors"
    """A tool fails fifteen times in a hundred and says so in its result only."""
    SILENCE = "silence"
    """An agent gets no requests any more."""
    LOOPS = "loops"
    """One run in ten of an agent goes round in circles."""
    INVALID_CALLS = "invalid_calls"
    """One run in five of an agent calls a tool wrongly."""


PLACES: Final[Mapping[Kind, str]] = {
    Kind.BROWNOUT: "provider",
    Kind.OUTAGE: "provider",
    Kind.PROVIDER_ERRORS: "provider",
    Kind.MODEL_CHANGE: "model",
    Kind.REASONING: "model",
    Kind.TRUNCATION: "model",
    Kind.EMPTY_TOOL: "tool",
    Kind.SLOW_TOOL: "tool",
    Kind.SWALLOWED_ERRORS: "tool",
    Kind.SILENCE: "agent",
    Kind.LOOPS: "agent",
    Kind.INVALID_CALLS: "agent",
}
"""What kind of thing an effect happens to."""

SLOWDOWN: Final = 4.0
FAILURES: Final[Mapping[Kind, float]] = {Kind.OUTAGE: 0.95, Kind.BROWNOUT: 0.3, Kind.PROVIDER_ERRORS: 0.08}
"""Share of the model calls that fail; the first that holds counts."""
MORE_TOKENS: Final = 3.0
TRUNCATED: Final = 0.1
TOOL_SLOWDOWN: Final = 2.2
SWALLOWED: Final = 0.15
RUNS: Final[Mapping[Kind, tuple[str, float]]] = {
    Kind.LOOPS: ("tool_loop", 0.1),
    Kind.INVALID_CALLS: ("invalid_tool_call", 0.2),
}
"""The fault that a share of an agent's runs has."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect; times are nanoseconds since the epoch."""

    kind: Kind
    where: str
    """Name of the provider, model, tool or agent."""
    start_ns: int
    end_ns: int
    answered: str = ""
    """What answers after a model change."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All effects of a simulation."""

    effects: tuple[Effect, ...] = ()

    def active(self, kind: Kind, where: str, at_ns: int) -> bool:
        """Whether an effect of this kind holds there and then."""
        return any(
            effect.kind is kind and effect.where == where and effect.start_ns <= at_ns < effect.end_ns
            for effect in self.effects
        )

    def failing(self, provider: str, at_ns: int) -> tuple[Kind, float] | None:
        """Why calls to the provider fail and what share of them, if they do."""
        return next(
            ((kind, share) for kind, share in FAILURES.items() if self.active(kind, provider, at_ns)),
            None,
        )

    def answered(self, model: str, at_ns: int) -> str | None:
        """What answers in place of the model, if that was changed."""
        changes = [
            effect
            for effect in self.effects
            if effect.kind is Kind.MODEL_CHANGE and effect.where == model and effect.start_ns <= at_ns < effect.end_ns
        ]
        return max(changes, key=lambda change: change.start_ns).answered if changes else None
