"""A tool call that its own telemetry reports as failed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity


def find(context: Context) -> Iterator[Finding]:
    """Tool spans with status error, or with an error attribute of their convention."""
    calls = context.calls
    failed = np.flatnonzero(context.call_failed)
    for call, message in zip(failed.tolist(), context.call_errors(failed).to_pylist(), strict=True):
        tool = calls.name[call].as_py()
        yield Finding(
            row=int(calls.tool_row[call]),
            confidence=0.99,
            summary=f"Tool {tool or 'call'} failed: {message.strip(': ')[:160] or 'no reason given'}",
            evidence={"error": message.strip(": ")[:500], "arguments": calls.arguments[call].as_py()},
            tool=tool,
        )


RULE = Rule(
    name="tool_error",
    severity=Severity.WARNING,
    find=find,
    detects="A tool call whose own telemetry reports a failure.",
    needs=("reported_status",),
    fails=True,
    kinds=("tool",),
    blind_spots="Tools that catch their own errors: see silent_tool_failure.",
)
