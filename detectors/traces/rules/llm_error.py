"""A model call that failed and that nothing made good."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import begun_answers, broken_streams
from detectors.traces.context import Context
from detectors.traces.recovery import PROVIDER_SAYS, failed_model_calls, rescue_of
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.told import last_answers, reason_of, traces_without_reasons


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
    yield from _ended_in_error(context)


def _ended_in_error(context: Context) -> Iterator[Finding]:
    """Model calls whose finish reason is an error and that said nothing; and agents that tell of one instead of an
    answer, where no model call is traced."""
    batch = context.batch
    rows = np.flatnonzero(batch.model_calls & ~batch.failed & batch.mask("finish_reason", "error"))
    for row, begun in zip(rows.tolist(), begun_answers(context, rows), strict=True):
        if not begun:
            yield Finding(row, 0.85, "Model call ended with an error and no answer", {"finish_reason": "error"})
    for answer in last_answers(context, traces_without_reasons(context)):
        if reason_of(answer) == "error":
            text = answer.facts.text or ""
            yield Finding(answer.row, 0.85, f"The agent's model call failed: {text[:160]}", {"message": text[:500]})
    agents = batch.kind("agent") & ~batch.failed & ~batch.any_by_trace(batch.kind("llm"))[batch.trace]
    rows = np.flatnonzero(
        agents & pc.fill_null(pc.equal(batch.column("output_tokens"), 0), False).to_numpy(zero_copy_only=False)
    )
    said = pc.match_substring_regex(batch.take("output_messages", rows), PROVIDER_SAYS)
    for row in rows[pc.fill_null(said, False).to_numpy(zero_copy_only=False).astype(np.bool_)].tolist():
        text = batch.texts("output_messages", [row])[0] or ""
        yield Finding(row, 0.75, f"The agent put out its provider's error: {text[:160]}", {"message": text[:500]})


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
