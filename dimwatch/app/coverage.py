"""What each agent sends, and so which rules can see it: "could not look" is not "healthy"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.traces.rules import RULES

_OF_TOOL_SPANS: Final = ("tool_result", "tool_arguments")
_OF_LLM_SPANS: Final = (
    "finish_reason",
    "output_tokens",
    "input_messages",
    "output_messages",
    "request_model",
    "response_model",
    "tool_definitions",
)
_COLUMNS: Final = (
    "agent", "traces", "spans", "tool_spans", *_OF_TOOL_SPANS, "llm_spans", *_OF_LLM_SPANS,
)  # fmt: skip
PARTLY: Final = 0.9
"""A rule that could look at a smaller share of what it judges sees an agent only partly."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one agent sent: how much, the share that carried each field, and what rules see of it."""

    agent: str
    traces: int
    spans: int
    tool_spans: int
    llm_spans: int
    shares: Mapping[str, float | None]  # by field; None when there is nothing that could carry it
    sight: Mapping[str, float | None] = field(default_factory=dict)  # by rule, in the same way

    @property
    def blind(self) -> list[str]:
        """Rules that can not see this agent at all."""
        return [rule for rule, share in self.sight.items() if share == 0.0]

    @property
    def partly(self) -> list[str]:
        """Rules that see only some of what they judge."""
        return [rule for rule, share in self.sight.items() if share is not None and 0.0 < share < PARTLY]


def coverage(row: Sequence[Any]) -> Coverage:
    """Understand one row of `coverage.sql`."""
    counts = dict(zip(_COLUMNS, row, strict=True))
    shares = {name: _share(counts[name], counts["tool_spans"]) for name in _OF_TOOL_SPANS}
    shares |= {name: _share(counts[name], counts["llm_spans"]) for name in _OF_LLM_SPANS}
    sight = {rule.name: _sight(rule.needs, rule.kinds, shares, counts) for rule in RULES}
    return Coverage(
        counts["agent"],
        counts["traces"],
        counts["spans"],
        counts["tool_spans"],
        counts["llm_spans"],
        shares,
        sight,
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _sight(
    needs: Sequence[str],
    kinds: Sequence[str],
    shares: Mapping[str, float | None],
    counts: Mapping[str, int],
) -> float | None:
    """The share of what a rule judges that carried all it needs. Fields that every span has count as carried."""
    told = []
    for name in needs:
        share = shares.get(name, 1.0)
        if name in _OF_TOOL_SPANS:
            # What tools were asked and what they gave is also in the messages of the next model call.
            share = max(share or 0.0, shares["input_messages"] or 0.0)
        told.append(share)
    judged = {"tool": counts["tool_spans"], "llm": counts["llm_spans"]}
    nothing = bool(kinds) and not any(judged.get(kind, 1) for kind in kinds)
    if nothing and not any(name in _OF_TOOL_SPANS and share for name, share in zip(needs, told, strict=True)):
        return None
    known = [share for share in told if share is not None]
    return min(known, default=1.0 if not needs else None)
