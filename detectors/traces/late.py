"""Trace rows that late spans add to: the row of the whole, not of the late part alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import count, repeat
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detectors.traces.batch import Mask, Rows
from detectors.traces.summary import DEGRADED, FAILED, INCOMPLETE, OK, RESCUED, STATUS
from dimwatch.records import TRACE

SpanNumbers = npt.NDArray[np.uint64]

_ADDED: Final = (
    "spans", "steps", "tool_calls", "failed_tool_calls", "input_tokens", "output_tokens", "reasoning_tokens",
    "model_ns", "tool_ns",
)  # fmt: skip
_UNITED: Final = ("providers", "models", "rules")
_WORSE: Final = (OK, INCOMPLETE, RESCUED, DEGRADED, FAILED)
_MAX_TABLES: Final = 2_000


class Summed(NamedTuple):
    """Trace rows, and the spans that they sum up."""

    traces: pa.Table
    ids: SpanNumbers
    """Of their spans, by trace."""
    first: Rows
    """Where those of each row begin, and the end."""

    @classmethod
    def of(cls, traces: pa.Table, ids: Sequence[SpanNumbers]) -> Summed:
        """From the span ids of each row."""
        first = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        return cls(traces, np.concatenate([np.empty(0, dtype=np.uint64), *ids]), first)


class RecentTraces:
    """Rows of traces that were judged lately, by trace id, so that what comes late can be added to them: about
    `most` at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._spans: dict[int, tuple[SpanNumbers, Rows]] = {}
        """By table: the spans that its rows sum up, and where those of each row begin."""
        self._place: dict[str, tuple[int, int]] = {}
        self._rows = 0
        self._next = 0

    def complete(self, judged: Summed, late: Mask) -> Summed:
        """Replace the rows of late parts (`late` by trace) by rows of the whole. A late part of a trace that is not
        remembered any more, or that only repeats spans, is left out: its spans and findings stand for themselves.
        Nothing is remembered by this."""
        if not late.any():
            return judged
        ids = np.split(judged.ids, judged.first[1:-1])
        rows, kept = [], []
        for trace in np.flatnonzero(late).tolist():
            row = self._merged(judged.traces.slice(trace, 1).to_pylist()[0], ids[trace])
            if row is not None:
                rows.append(row)
                kept.append(np.union1d(self._ids(row["trace_id"]), ids[trace]))
        on_time = np.flatnonzero(~late)
        traces = pa.concat_tables([judged.traces.take(pa.array(on_time)), pa.Table.from_pylist(rows, schema=TRACE)])
        return Summed.of(traces, [ids[trace] for trace in on_time.tolist()] + kept)

    def _ids(self, trace_id: str) -> SpanNumbers:
        table, row = self._place[trace_id]
        ids, first = self._spans[table]
        return ids[first[row] : first[row + 1]]

    def _merged(self, part: Mapping[str, Any], ids: SpanNumbers) -> dict[str, Any] | None:
        place = self._place.get(part["trace_id"])
        if place is None or np.isin(ids, self._ids(part["trace_id"])).all():
            return None
        row: dict[str, Any] = self._tables[place[0]].slice(place[1], 1).to_pylist()[0]
        end = max(_end_ns(row), _end_ns(part))
        merged = dict(row)
        for name in _ADDED:
            merged[name] = row[name] + part[name]
        for name in _UNITED:
            merged[name] = sorted({*row[name], *part[name]})
        merged["start_time"] = min(row["start_time"], part["start_time"])
        merged["duration_ns"] = end - _ns(merged["start_time"])
        merged["waiting_ns"] = max(merged["duration_ns"] - (row["duration_ns"] - row["waiting_ns"]), 0)
        costs = [cost for cost in (row["cost_usd"], part["cost_usd"]) if cost is not None]
        merged["cost_usd"] = sum(costs) if costs else None
        merged["complete"] = row["complete"] or part["complete"]
        # What made the trace incomplete may have come now; what made it bad has not gone away.
        known = OK if row["outcome"] == INCOMPLETE and merged["complete"] else row["outcome"]
        merged["outcome"] = max(known, part["outcome"], key=_WORSE.index)
        merged["effective_status"] = STATUS[merged["outcome"]]
        merged["version"] = max(part["version"], row["version"] + 1)
        return merged

    def remember(self, judged: Summed) -> None:
        """Keep rows in the place of older ones."""
        traces = judged.traces
        if not traces.num_rows:
            return
        number, self._next = self._next, self._next + 1
        self._tables[number] = traces
        self._spans[number] = judged.ids, judged.first
        self._rows += traces.num_rows
        self._place.update(zip(traces["trace_id"].to_pylist(), zip(repeat(number), count()), strict=False))
        while len(self._tables) > _MAX_TABLES or (self._rows > self._most and len(self._tables) > 1):
            old, table = self._tables.popitem(last=False)
            self._rows -= table.num_rows
            del self._spans[old]
            for trace_id in table["trace_id"].to_pylist():
                if self._place.get(trace_id, (old, 0))[0] == old:
                    self._place.pop(trace_id, None)


def _ns(time: Any) -> int:
    return int(np.datetime64(time.to_datetime64() if hasattr(time, "to_datetime64") else time, "ns").astype(np.int64))


def _end_ns(row: Mapping[str, Any]) -> int:
    return _ns(row["start_time"]) + int(row["duration_ns"])
