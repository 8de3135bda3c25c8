"""Effective status: what Dimwatch concludes, beside what the sender reported."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.results import State, judge
from dimwatch.records import SPAN

OK: Final = "ok"
ERROR: Final = "error"
UNKNOWN: Final = "unknown"

_TOOL_LIKE: Final = pa.array(["tool", "retriever", "reranker"])
_MODEL_LIKE: Final = pa.array(["llm", "embedding"])
_FINISH_FAULTS: Final = (
    ("content_filter", "filtered_output"),
    ("malformed_tool_call", "invalid_tool_call"),
    ("error", "interrupted_stream"),
)


def with_first_look(spans: pa.Table) -> pa.Table:
    """Set the effective status of spans as they arrive, from what each says by itself; whole traces may say more."""
    if not spans.num_rows:
        return spans
    kind, reported = spans["kind"].combine_chunks(), spans["reported_status"].combine_chunks()
    tool_like, model_like = pc.is_in(kind, _TOOL_LIKE), pc.is_in(kind, _MODEL_LIKE)
    failed = pc.equal(reported, "error")
    reason = pc.if_else(
        failed,
        pc.if_else(tool_like, "tool_error", pc.if_else(model_like, "llm_error", "reported")),
        "",
    )
    tools = np.flatnonzero(pc.and_(tool_like, pc.invert(failed)).to_numpy(zero_copy_only=False))
    uncaptured = np.zeros(len(kind), dtype=np.bool_)
    if len(tools):
        verdicts = judge(spans["tool_result"].combine_chunks().take(pa.array(tools)))
        wrong = np.zeros(len(kind), dtype=np.bool_)
        wrong[tools] = (verdicts.state == State.ERROR) & (verdicts.confidence >= 0.5)
        uncaptured[tools] = (verdicts.state == State.MISSING) | (verdicts.state == State.REDACTED)
        reason = pc.if_else(pa.array(wrong), "silent_tool_failure", reason)
    finish = spans["finish_reason"].combine_chunks()
    for word, rule in _FINISH_FAULTS:
        hit = pc.and_(model_like, pc.and_(pc.equal(finish, word), pc.equal(reason, "")))
        reason = pc.if_else(hit, rule, reason)
    status = pc.if_else(pc.not_equal(reason, ""), ERROR, pc.if_else(pa.array(uncaptured), UNKNOWN, OK))
    return replace(replace(spans, "effective_status", status), "effective_reason", reason)


def replace(spans: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """`spans` with one column exchanged."""
    return spans.set_column(spans.schema.get_field_index(name), SPAN.field(name), values)
