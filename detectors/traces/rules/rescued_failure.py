"""A failure that a retry or another model made good: invisible in the outcome, visible in latency and bill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import NONE
from detectors.traces.context import Context
from detectors.traces.lookup import groups_of, members, next_in_group
from detectors.traces.recovery import failed_model_calls, rescue_of
from detectors.traces.results import State
from detectors.traces.rules.base import Finding, Rule, Severity

_STATUSES: Final = 20


def find(context: Context) -> Iterator[Finding]:
    """Failed model calls followed by one that worked, resent HTTP requests, and failed tool calls that worked later."""
    yield from _model_calls(context)
    yield from _resent(context)
    yield from _tools(context)


def _model_calls(context: Context) -> Iterator[Finding]:
    batch = context.batch
    rows = failed_model_calls(batch)
    rescues = rescue_of(context, rows)
    saved = rescues != NONE
    rows, rescues = rows[saved], rescues[saved]
    models = zip(batch.texts("request_model", rows), batch.texts("request_model", rescues), strict=True)
    errors = batch.texts("error_type", rows)
    for row, rescue, (first, second), error in zip(rows.tolist(), rescues.tolist(), models, errors, strict=True):
        other = first != second and bool(second)
        yield Finding(
            row=row,
            confidence=0.95,
            summary=f"Model call {first or ''} failed ({error or 'error'}) and was saved by "
            + (f"{second}" if other else "a retry"),
            evidence={
                "error_type": error,
                "by": "fallback" if other else "retry",
                "delay_ms": round((int(batch.start[rescue]) - int(batch.start[row])) / 1e6, 3),
            },
        )


def _resent(context: Context) -> Iterator[Finding]:
    """Retries inside a client: a resend count on the call, or failed HTTP requests below a call that worked."""
    batch = context.batch
    calls = batch.model_calls & ~batch.failed
    resent = pc.fill_null(pc.greater(batch.column("retries"), 0), False).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(calls & resent).tolist():
        count = batch.take("retries", [row])[0].as_py()
        yield Finding(row, 0.95, f"Model call was sent again {count} time(s)", {"by": "retry", "retries": count})
    below = np.flatnonzero(resent & ~calls)
    above = batch.ancestor(below, calls, depth=3)
    for row, call in zip(below.tolist(), above.tolist(), strict=True):
        if call != NONE:
            count = batch.column("retries")[row].as_py()
            yield Finding(call, 0.95, f"Model call was sent again {count} time(s)", {"by": "retry", "retries": count})
    http = batch.kind("http")
    bad = pc.fill_null(pc.greater_equal(batch.column("http_status"), 400), False).to_numpy(zero_copy_only=False)
    failed = np.flatnonzero(http & (batch.failed | bad))
    above = batch.ancestor(failed, calls, depth=3)
    failed, above = failed[above != NONE], above[above != NONE]
    for row, positions in members(above):
        below = failed[positions]
        statuses = batch.take("http_status", below).to_pylist()
        yield Finding(
            row,
            0.9,
            f"Model call worked only after {len(below)} failed HTTP request(s): {statuses[:_STATUSES]}",
            {"by": "retry", "requests": len(below), "http_statuses": statuses[:_STATUSES]},
        )


def _tools(context: Context) -> Iterator[Finding]:
    """Failed tool calls that the same tool, called again later in the trace, made good."""
    calls = context.calls
    failed = context.call_failed | (context.verdicts.state == State.ERROR)
    good = (context.verdicts.state == State.OK) & ~context.call_failed
    if not failed.any():
        return
    names = calls.name.to_pylist()
    saviours = next_in_group(groups_of(calls.trace, calls.name), good)
    later = (saviours != NONE) & (calls.time[np.maximum(saviours, 0)] > calls.time)
    for call in np.flatnonzero(failed & later).tolist():
        saviour = int(saviours[call])
        row = int(calls.tool_row[call] if calls.tool_row[call] != NONE else calls.row[call])
        same = calls.arguments[call] == calls.arguments[saviour]
        yield Finding(
            row,
            0.9 if same else 0.7,
            f"{names[call]} failed and worked when called again" + ("" if same else " with other arguments"),
            {"by": "retry", "same_arguments": same},
            tool=names[call],
        )


RULE = Rule(
    name="rescued_failure",
    severity=Severity.INFO,
    find=find,
    detects="A failed model or tool call that a retry, a resent request or another model made good.",
    needs=("reported_status",),
    blind_spots="Retries inside clients that leave no trace but time.",
)
