"""A model call that failed and that nothing made good."""

from __future__ import annotations

from collections.abc import Iterator

from detectors.traces.answers import broken_streams
from detectors.traces.context import Context
from detectors.traces.recovery import failed_model_calls, rescue_of
from detectors.traces.rules.base import Finding, Rule, Severity


def find(context: Context) -> Iterator[Finding]:
    """Failed model calls, and failures of a model provider that only an agent's span tells of."""
    rows = failed_model_calls(context.batch)
    rows = rows[~broken_streams(context)[rows]]
    lost = rows[rescue_of(context, rows) < 0]
    batch = context.batch
    columns = [batch.texts(name, lost) for name in ("error_type", "status_message", "request_model", "response_model")]
    statuses = batch.column("http_status")
    for row, error, message, asked, answered in zip(lost.tolist(), *columns, strict=True):
        reason = ": ".join(part for part in (error, message) if part) or "no reason given"
        yield Finding(
            row=row,
            confidence=0.97,
            summary=f"Model call {asked or answered or ''} failed: {reason[:160]}".replace("  ", " "),
            evidence={
                "error_type": error,
                "message": (message or "")[:500],
                "http_status": statuses[row].as_py(),
            },
        )


RULE = Rule(
    name="llm_error",
    severity=Severity.WARNING,
    find=find,
    detects="A model call that failed (rate limit, server error, time-out, refusal of the request) and that no retry "
    "and no other model made good.",
    needs=("reported_status",),
    fails=True,
    kinds=("llm",),
    blind_spots="Retries inside a client library that shows one successful span.",
)
