"""Failed dependencies: HTTP requests and other spans that a tool, or an agent between two model calls, sat on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch, mask_of
from detectors.traces.lookup import groups_of, next_in_group

_DEPTH: Final = 8
_MODEL_URL: Final = (
    r"(?i)/chat/completions|/completions|/v\d+/messages|/responses|generateContent|/embeddings|/converse|/invoke"
    r"|/api/(chat|generate|embed)|/v\d+/chat|/rerank|openai|anthropic"
)
_URLS: Final = ("http.url", "url.full", "http.target", "url.path", "uri", "server.address", "net.peer.name")
_AGENT_KINDS: Final = ("agent", "workflow", "chain")


@dataclass(slots=True)
class Failures:
    """Failed dependencies that no later one of the same name, under the same parent, made good."""

    by_tool: Rows
    """By span: for a tool span the row of a failed dependency below it, NONE if there is none."""
    stray: Rows
    """Rows of failed HTTP requests that no tool span and no model call was the reason of."""
    above: Rows
    """The agent, step or workflow that each of `stray` was sent by."""


def failed_dependencies(batch: TraceBatch, tools: Mask) -> Failures:
    """Attribute failed dependencies to the spans of `tools` (each call's outermost) that swallowed them."""
    by_tool = np.full(len(batch), NONE, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int64)
    http = batch.kind("http")
    dependency = http | batch.kind("retriever", "tool", "mcp", "other", "embedding", "memory")
    bad_http = pc.fill_null(pc.greater_equal(batch.column("http_status"), 400), False)
    failed = dependency & (batch.failed | bad_http.to_numpy(zero_copy_only=False))
    rows = np.flatnonzero(failed)
    rows = rows[batch.parent[rows] != NONE]
    if not len(rows):
        return Failures(by_tool, nothing, nothing)
    rows = rows[~_made_good(batch, rows, failed)]
    speakers = batch.kind("llm", "embedding", "tool", "agent")
    nearest = batch.ancestor(rows, speakers, depth=_DEPTH)
    known = np.maximum(nearest, 0)
    below_tool = (nearest != NONE) & batch.kind("tool")[known]
    outer = batch.ancestor(rows, tools, depth=_DEPTH)
    owner = np.where(below_tool, np.where(tools[known], nearest, outer), NONE)
    lost = http[rows] & (owner == NONE) & ((nearest == NONE) | batch.kind("agent")[known])
    owner[lost] = _around(batch, rows[lost], tools)  # its context was not passed on
    owned = owner != NONE
    by_tool[owner[owned]] = rows[owned]
    alone = rows[~owned & http[rows] & ((nearest == NONE) | batch.kind("agent")[known])]
    above = batch.ancestor(alone, batch.kind(*_AGENT_KINDS), depth=_DEPTH)
    kept = (above != NONE) & ~_of_models(batch, alone)
    return Failures(by_tool, alone[kept], above[kept])


def _around(batch: TraceBatch, rows: Rows, tools: Mask) -> Rows:
    """For each row the one tool span of its trace that was open all the time, NONE if there is none or several."""
    found = np.full(len(rows), NONE, dtype=np.int64)
    tool_rows = np.flatnonzero(tools)
    first = np.searchsorted(batch.trace[tool_rows], batch.trace[rows])
    end = np.searchsorted(batch.trace[tool_rows], batch.trace[rows], side="right")
    for position in np.flatnonzero(end > first).tolist():
        row, near = rows[position], tool_rows[first[position] : end[position]]
        open_ = near[(batch.start[near] <= batch.start[row]) & (batch.end[near] >= batch.end[row])]
        if len(open_) == 1:
            found[position] = open_[0]
    return found


def is_refusal(status: int | None) -> bool:
    """An HTTP status by which a healthy service answers a question: not found, conflict, invalid."""
    return status is not None and 400 <= status < 500 and status not in (401, 403, 407, 408, 423, 429)


def _made_good(batch: TraceBatch, rows: Rows, failed: Mask) -> Mask:
    """Which of `rows` a later sibling of the same name made good."""
    siblings = np.flatnonzero(np.isin(batch.parent, batch.parent[rows]))
    group = groups_of(batch.parent[siblings], batch.take("name", siblings))
    good: Mask = next_in_group(group, ~failed[siblings]) != NONE
    return good[np.searchsorted(siblings, rows)]


def _of_models(batch: TraceBatch, rows: Rows) -> Mask:
    """Requests whose address says that they are a model call that is not traced itself."""
    attributes = batch.take("attributes", rows).to_pylist()
    told = [" ".join(value for key, value in pairs if key in _URLS) for pairs in attributes]
    return mask_of(pc.match_substring_regex(pa.array(told, pa.string()), _MODEL_URL))
