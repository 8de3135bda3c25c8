"""Scheduled effects on the whole fleet, by virtual time: what an operator should notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BROWNOUT_SLOWDOWN: Final = 4.0
BROWNOUT_FAILURES: Final = 0.3


@dataclass(frozen=True, slots=True)
class Brownout:
    """A provider answers four times as slowly, and three calls in ten fail."""

    provider: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class ModelChange:
    """From some time on, another model or version answers under the same name."""

    model: str
    answered: str
    start_ns: int


@dataclass(frozen=True, slots=True)
class EmptyTool:
    """A tool finds nothing any more, without an error."""

    tool: str
    start_ns: int
    end_ns: int


Effect = Brownout | ModelChange | EmptyTool


@dataclass(frozen=True, slots=True)
class Scenario:
    """All effects of a simulation; times are nanoseconds since the epoch."""

    effects: tuple[Effect, ...] = ()

    def brownout(self, provider: str, at_ns: int) -> bool:
        """Whether the provider is in a brownout."""
        return any(
            isinstance(effect, Brownout) and effect.provider == provider and effect.start_ns <= at_ns < effect.end_ns
            for effect in self.effects
        )

    def answered(self, model: str, at_ns: int) -> str | None:
        """What answers in place of the model, if that was changed."""
        changes = [
            effect
            for effect in self.effects
            if isinstance(effect, ModelChange) and effect.model == model and effect.start_ns <= at_ns
        ]
        return max(changes, key=lambda change: change.start_ns).answered if changes else None

    def empty(self, tool: str, at_ns: int) -> bool:
        """Whether the tool has turned empty."""
        return any(
            isinstance(effect, EmptyTool) and effect.tool == tool and effect.start_ns <= at_ns < effect.end_ns
            for effect in self.effects
        )
