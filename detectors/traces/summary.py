"""One row a trace: outcome, steps, tokens, cost, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context
from detectors.traces.intervals import latest_end_before
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.windows.keys import Column, either
from dimwatch.records import TRACE

FAILED: Final = "failed"
DEGRADED: Final = "degraded"
RESCUED: Final = "rescued"
OK: Final = "ok"
INCOMPLETE: Final = "incomplete"

_FATAL_AT_THE_END: Final = frozenset(
    {"llm_error", "filtered_output", "empty_output", "interrupted_stream", "invalid_tool_call"}
)
_DEGRADING: Final = frozenset(
    {"tool_error", "silent_tool_failure", "invalid_tool_call", "tool_loop", "truncated_output", *_FATAL_AT_THE_END}
)


def outcomes(context: Context, findings: Sequence[tuple[Rule, Finding]]) -> list[str]:
    """How each trace ended: failed, degraded (it finished, but on bad ground), rescued, ok, or incomplete."""
    batch = context.batch
    rules_of: dict[int, set[str]] = defaultdict(set)
    bad_end: set[int] = set()
    saved_rows = {finding.row for rule, finding in findings if rule.name == "rescued_failure"}
    for rule, finding in findings:
        trace = int(batch.trace[finding.row])
        if (finding.severity or rule.severity) is Severity.INFO and rule.name not in {
            "rescued_failure",
            "incomplete_trace",
        }:
            continue
        if finding.row in saved_rows and rule.name != "rescued_failure":
            continue
        rules_of[trace].add(rule.name)
        if rule.name in _FATAL_AT_THE_END and finding.row >= context.final_model_call[trace]:
            bad_end.add(trace)
    result = [OK] * batch.traces
    for trace, rules in rules_of.items():
        if rules & _DEGRADING:
            result[trace] = DEGRADED
        elif "incomplete_trace" in rules:
            result[trace] = INCOMPLETE
        elif "rescued_failure" in rules:
            result[trace] = RESCUED
    root_failed = batch.failed[batch.root] if len(batch) else np.zeros(0, dtype=np.bool_)
    for trace in bad_end.union(np.flatnonzero(root_failed).tolist()):
        result[trace] = FAILED
    return result


def summarize(
    context: Context, findings: Sequence[tuple[Rule, Finding]], outcome: Sequence[str], version: Rows
) -> pa.Table:
    """The trace rows of the batch."""
    batch = context.batch
    root = batch.root
    first = batch.first[:-1]
    last_end = np.zeros(batch.traces, dtype=np.int64)
    np.maximum.at(last_end, batch.trace, batch.end)
    duration = last_end - batch.start[first]
    counted, models, tools = batch.counted, batch.model_calls, _distinct_tool_calls(context)
    failed_calls = _failed_calls(context, findings)
    spans_duration = batch.end - batch.start
    tool_spans = batch.kind("tool", "retriever", "reranker")
    outcome_array = pa.array(list(outcome), pa.string())
    columns: dict[str, object] = {
        "duration_ns": duration,
        "start_time": batch.start[first],
        "outcome": outcome_array,
        "effective_status": pa.array([STATUS[word] for word in outcome], pa.string()),
        "complete": batch.any_by_trace(batch.is_root),
        "spans": np.diff(batch.first),
        "steps": _count(batch, models),
        "tool_calls": tools,
        "failed_tool_calls": failed_calls,
        "providers": _lists(
            batch, Column(*batch.encoded("provider")), batch.kind("llm", "embedding") & batch.present("provider")
        ),
        "models": _distinct_models(batch),
        "input_tokens": _sum(batch, "input_tokens", counted),
        "output_tokens": _sum(batch, "output_tokens", counted),
        "reasoning_tokens": _sum(batch, "reasoning_tokens", counted),
        "cost_usd": _cost(batch, counted),
        "model_ns": _weigh(batch, models, spans_duration),
        "tool_ns": _weigh(batch, tool_spans & (batch.parent != NONE), spans_duration),
        "waiting_ns": np.maximum(duration - _busy(batch), 0),
        "rules": _rules(batch, findings),
        "version": version,
        "name": batch.take("name", root),
        "agent": batch.agent.take(pa.array(root)),
        "run_id": _run_ids(batch),
    }
    for name in ("tenant", "trace_id", "service", "service_version", "environment", "reported_status"):
        columns[name] = batch.take(name, root)
    for name in ("workflow", "conversation_id", "user_id"):
        columns[name] = first_said(batch, name)
    arrays = [pc.cast(_array(columns[field.name]), field.type) for field in TRACE]
    return pa.Table.from_arrays(arrays, schema=TRACE)


STATUS: Final = {OK: "ok", RESCUED: "ok", FAILED: "error", DEGRADED: "error", INCOMPLETE: "unknown"}


def _array(values: object) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values)


def _count(batch: TraceBatch, mask: Mask) -> npt.NDArray[np.int64]:
    return np.bincount(batch.trace[mask], minlength=batch.traces)


def _weigh(batch: TraceBatch, mask: Mask, weights: Rows) -> Rows:
    return np.bincount(batch.trace[mask], weights=weights[mask], minlength=batch.traces).astype(np.int64)


def _sum(batch: TraceBatch, name: str, mask: Mask) -> Rows:
    return _weigh(batch, mask, pc.fill_null(batch.column(name), 0).to_numpy(zero_copy_only=False))


def _cost(batch: TraceBatch, counted: Mask) -> pa.Array:
    costs = batch.column("cost_usd").to_numpy(zero_copy_only=False)
    total = np.bincount(batch.trace[counted], weights=costs[counted], minlength=batch.traces)
    return pa.array(total, mask=np.isnan(total))


def _busy(batch: TraceBatch) -> Rows:
    """Time during which at least one model call, tool or dependency was open."""
    work = np.flatnonzero(
        batch.kind("llm", "tool", "retriever", "embedding", "reranker", "http", "memory", "mcp", "guardrail")
    )
    busy = np.zeros(batch.traces, dtype=np.int64)
    if not len(work):
        return busy
    trace, start, end = batch.trace[work], batch.start[work], batch.end[work]
    before = latest_end_before(trace, start, end)
    np.add.at(busy, trace, np.maximum(end - np.maximum(start, before), 0))
    return busy


def _distinct_tool_calls(context: Context) -> Rows:
    return np.bincount(context.calls.trace, minlength=context.batch.traces)


def _failed_calls(context: Context, findings: Sequence[tuple[Rule, Finding]]) -> Rows:
    rows = {
        finding.row
        for rule, finding in findings
        if rule.fails and rule.kinds == ("tool",) and (finding.severity or rule.severity) is not Severity.INFO
    }
    at = np.array(sorted(rows), dtype=np.int64)
    return np.bincount(context.batch.trace[at], minlength=context.batch.traces)


def _rules(batch: TraceBatch, findings: Sequence[tuple[Rule, Finding]]) -> pa.Array:
    pairs = sorted({(int(batch.trace[finding.row]), rule.name) for rule, finding in findings})
    offsets = np.searchsorted([trace for trace, _ in pairs], np.arange(batch.traces + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array([name for _, name in pairs], pa.string()))


def _distinct_models(batch: TraceBatch) -> pa.Array:
    models = either(Column(*batch.encoded("response_model")), Column(*batch.encoded("request_model")))
    return _lists(batch, models, batch.kind("llm") & (batch.present("response_model") | batch.present("request_model")))


def _lists(batch: TraceBatch, strings: Column, mask: Mask) -> pa.Array:
    """By trace the distinct strings of the rows of `mask`, in order."""
    codes, values = strings.ordered()
    pairs = np.unique(batch.trace[mask] * np.int64(len(values) + 1) + codes[mask])
    traces, found = np.divmod(pairs, len(values) + 1)
    offsets = np.searchsorted(traces, np.arange(batch.traces + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.take(pa.array(found)))


def first_said(batch: TraceBatch, name: str) -> pa.Array:
    """By trace, what the first span says that says anything; "" where none does."""
    said = np.flatnonzero(batch.present(name))[::-1]
    pick = np.full(batch.traces, NONE, dtype=np.int64)
    pick[batch.trace[said]] = said
    return pc.fill_null(batch.take(name, pa.array(pick, mask=pick == NONE)), "")


def _run_ids(batch: TraceBatch) -> pa.Array:
    """The conversation, else the first linked trace, else the trace itself."""
    conversation = first_said(batch, "conversation_id")
    own = batch.take("trace_id", pa.array(batch.root))
    linked_rows = np.flatnonzero(batch.present("links"))[::-1]
    linked: list[str | None] = [None] * batch.traces
    for row, links in zip(linked_rows.tolist(), batch.take("links", linked_rows), strict=True):
        linked[int(batch.trace[row])] = links[0].as_py()
    said = pc.if_else(pc.equal(conversation, ""), None, conversation)
    return pc.coalesce(said, pa.array(linked, pa.string()), own)
