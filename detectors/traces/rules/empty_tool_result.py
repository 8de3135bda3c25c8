"""A tool that answered with nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detectors.traces.context import Context
from detectors.traces.results import State
from detectors.traces.rules.base import Finding, Rule, Severity


def find(context: Context) -> Iterator[Finding]:
    """Results that are empty after unwrapping. A result that was not captured is not empty."""
    calls, verdicts = context.calls, context.verdicts
    empty = (verdicts.state == State.EMPTY) & ~context.call_failed
    for call in np.flatnonzero(empty).tolist():
        tool = calls.name[call].as_py() or "tool"
        yield Finding(
            row=int(calls.row[call]),
            confidence=float(verdicts.confidence[call]),
            summary=f"{tool} returned nothing",
            evidence={"arguments": calls.arguments[call].as_py(), "result": verdicts.snippet(call)},
            tool=tool,
        )


RULE = Rule(
    name="empty_tool_result",
    severity=Severity.INFO,
    find=find,
    detects="A tool call whose result is empty: null, an empty string, list or object, or a wrapper around one.",
    needs=("tool_result",),
    kinds=("tool",),
    blind_spots="Whether nothing is the right answer: the tool's usual rate of empty results decides that.",
)
