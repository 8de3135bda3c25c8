"""Spans in, whole traces out: in any order of arrival, roots last or never, with bounded memory.

Time here is record time: the time at which a request was received, as the eventlog keeps it. It moves forward only,
does not trust the senders' clocks, and is the same when the log is read again. A trace is handed out when nothing
has arrived for it for a while: a short while once its root is there, a longer one, learned from the gaps that the
service shows, while it is not.

Spans stay in the columns that they came in. A trace is a slot number; rows of a closed slot are taken out of
their chunks with one `take` per chunk.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.checkpoint import AssemblerState, OpenTrace
from detectors.traces.patience import Patience
from dimwatch.records import SPAN
from dimwatch.settings import Assembly

Slots = npt.NDArray[np.int64]

GONE: Final = -1
_COMPACT_BELOW: Final = 0.25
_SHARE_IN_PLACE: Final = 0.2
"""Rows that are a larger share of their chunk are pointed at instead of being copied out of it."""
_REMEMBERED_CLOSED: Final = 200_000


@dataclass(slots=True)
class _Chunk:
    """Rows as they came, with the slot of each; `GONE` where the row has been taken."""

    table: pa.Table
    slots: Slots
    left: int
    bytes: int
    record: int

    def take(self, due: npt.NDArray[np.bool_]) -> tuple[pa.Table, Slots, Slots] | None:
        """Remove the rows whose slot is due: a table, which of its rows they are, and their slots."""
        rows = np.flatnonzero(due[self.slots] & (self.slots != GONE))
        if not len(rows):
            return None
        slots, table = self.slots[rows], self.table
        self.slots[rows] = GONE
        if len(rows) < _SHARE_IN_PLACE * table.num_rows:
            table, rows = table.take(pa.array(rows)), np.arange(len(rows))
        self.left -= len(rows)
        if 0 < self.left < _COMPACT_BELOW * len(self.slots):
            kept = np.flatnonzero(self.slots != GONE)
            self.table, self.slots = self.table.take(pa.array(kept)), self.slots[kept]
            self.bytes = self.table.nbytes
        return table, rows, slots


@dataclass(slots=True)
class Closed:
    """Traces to be judged."""

    spans: pa.Table
    rows: Slots  # those rows of `spans` that belong here
    trace: Slots  # by row: the number of its trace in this batch
    content: pa.Table | None
    late: npt.NDArray[np.bool_]  # by trace: an addition to a trace that was closed before
    forced: npt.NDArray[np.bool_]  # by trace: closed for lack of room, not because it was over
    due_ns: npt.NDArray[np.int64]  # by trace: the record time at which it was over
    cause: Counter[str] = field(default_factory=Counter)

    @property
    def traces(self) -> int:
        """How many traces there are."""
        return len(self.late)

    def halves(self) -> Iterator[Closed]:
        """The same traces in two batches."""
        middle = self.traces // 2
        for first, last in ((0, middle), (middle, self.traces)):
            here = (self.trace >= first) & (self.trace < last)
            yield Closed(
                self.spans,
                self.rows[here],
                self.trace[here] - first,
                self.content,
                self.late[first:last],
                self.forced[first:last],
                self.due_ns[first:last],
            )


class Assembler:
    """Holds open traces. Not thread-safe; one instance belongs to one worker."""

    def __init__(self, settings: Assembly) -> None:
        self._settings = settings
        self._slot_of: dict[str, int] = {}
        self._id_of: list[str] = []
        self._free: list[int] = []
        self._last = np.empty(0, dtype=np.int64)
        self._due = np.empty(0, dtype=np.int64)
        self._first_record = np.empty(0, dtype=np.int64)
        self._rooted = np.empty(0, dtype=np.bool_)
        self._late = np.empty(0, dtype=np.bool_)
        self._spans = np.empty(0, dtype=np.int64)
        self._chunks: list[_Chunk] = []
        self._content: list[_Chunk] = []
        self._patience = Patience(settings)
        self._service = np.empty(0, dtype=np.int64)
        self._closed: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        """Traces that were handed out, oldest first: their first and last record, and when they were last heard of."""
        self._last_record = np.empty(0, dtype=np.int64)
        self._judged_before: set[str] = set()
        self._forced: set[int] = set()
        self.dropped: Counter[str] = Counter()

    @property
    def open_traces(self) -> int:
        """Traces that wait for more spans."""
        return len(self._slot_of)

    @property
    def open_bytes(self) -> int:
        """Bytes held for them."""
        return sum(chunk.bytes for chunk in self._chunks) + sum(chunk.bytes for chunk in self._content)

    def oldest_record(self, since: int) -> int | None:
        """The smallest `record`, not before `since`, in which an open trace began; None if there is none."""
        first = self._first_record[self._open_slots()]
        first = first[first >= since]
        return int(first.min()) if len(first) else None

    def snapshot(self, base: int) -> AssemblerState:
        """What must be kept so that reading on from record `base` gives the same traces."""
        slots = self._open_slots()
        slots = slots[self._first_record[slots] < base]
        old = np.zeros(len(self._last), dtype=np.bool_)
        old[slots] = True
        judged = []
        for trace_id, (first, last, _) in reversed(self._closed.items()):
            if first < base <= last:
                judged.append(trace_id)
        content = _copied(self._content, old, base)
        return AssemblerState(
            open=[
                OpenTrace(
                    self._id_of[slot],
                    int(self._last[slot]),
                    int(self._due[slot]),
                    bool(self._rooted[slot]),
                    bool(self._late[slot]),
                )
                for slot in slots.tolist()
            ],
            spans=_copied(self._chunks, old, base) or SPAN.empty_table(),
            content=content,
            judged=judged,
            learned=self._patience.state(),
        )

    def restore(self, state: AssemblerState) -> None:
        """Take up a snapshot: only before the first `add`."""
        before = -1
        for trace in state.open:
            slot = self._slot(trace.trace_id, trace.last_ns, before)
            self._due[slot], self._rooted[slot], self._late[slot] = trace.due_ns, trace.rooted, trace.late
        for table, chunks in ((state.spans, self._chunks), (state.content, self._content)):
            if table is not None and table.num_rows:
                slots = self._slots(table["trace_id"], _received(table), before)
                chunks.append(_Chunk(table, slots, len(slots), table.nbytes, before))
                if chunks is self._chunks:
                    self._spans += np.bincount(slots, minlength=len(self._spans))
        self._patience.restore(state.learned)
        self._judged_before = set(state.judged)
        self._closed.update(dict.fromkeys(state.judged, (before, before, 0)))

    def catch_up(self, spans: pa.Table) -> pa.Table:
        """Of spans that are read a second time, those whose trace was not judged before the restart."""
        if not self._judged_before or not spans.num_rows:
            return spans
        judged = pc.is_in(spans["trace_id"], value_set=pa.array(sorted(self._judged_before)))
        return spans.filter(pc.invert(judged))

    def caught_up(self) -> None:
        """From here on records are new: what comes for a judged trace is late, not a repetition."""
        self._judged_before.clear()

    def _open_slots(self) -> Slots:
        return np.fromiter(self._slot_of.values(), dtype=np.int64, count=len(self._slot_of))

    def add(self, spans: pa.Table, *, record: int) -> pa.Table | None:
        """Take in spans, in any order, that came with `record` (a number that grows with the log).

        Returns the spans that came after their trace was over: `close` it first, then add them. So the result does
        not depend on how many requests are added at a time.
        """
        if not spans.num_rows:
            return None
        received = _received(spans)
        slots = self._slots(spans["trace_id"], received, record)
        services = spans["service"].combine_chunks().dictionary_encode()
        roots = pc.equal(spans["parent_span_id"], "").to_numpy(zero_copy_only=False)
        later = self._touch(slots, received, roots, services)
        rest = None
        if later.any():
            rest = spans.filter(pa.array(later))
            spans, slots = spans.filter(pa.array(~later)), slots[~later]
        slots = self._within_limit(slots)
        left = int((slots != GONE).sum())
        if left:
            self._chunks.append(_Chunk(spans, slots, left, spans.nbytes, record))
        self._make_room()
        return rest

    def add_content(self, content: pa.Table, *, record: int) -> None:
        """Take in content rows (log events) of spans that may have come already or may come yet."""
        if not content.num_rows:
            return
        received = _received(content)
        slots = self._slots(content["trace_id"], received, record)
        np.maximum.at(self._last, slots, received)
        wait = np.where(self._spans[slots] > 0, self._patience.linger_ns, self._patience.idle_ns)
        np.maximum.at(self._due, slots, received + wait)
        self._content.append(_Chunk(content, slots, len(slots), content.nbytes, record))

    def close(self, now_ns: int) -> Closed | None:
        """Hand out the traces that are over at record time `now_ns`, None if there are none."""
        slots = self._open_slots()
        return self._hand_out(slots[self._due[slots] <= now_ns])

    def flush(self) -> Closed | None:
        """Hand out everything: the input has ended."""
        return self._hand_out(self._open_slots())

    def _slots(self, trace_ids: pa.ChunkedArray, received: Slots, record: int) -> Slots:
        encoded = trace_ids.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        earliest = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
        np.minimum.at(earliest, codes, received)
        ids = zip(encoded.dictionary.to_pylist(), earliest.tolist(), strict=True)
        numbers = np.array([self._slot(trace_id, at, record) for trace_id, at in ids], dtype=np.int64)
        self._last_record[numbers] = record
        slots: Slots = numbers[codes]
        return slots

    def _slot(self, trace_id: str, now_ns: int, record: int) -> int:
        slot = self._slot_of.get(trace_id)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
            self._id_of[slot] = trace_id
        else:
            slot = len(self._id_of)
            self._id_of.append(trace_id)
            if slot >= len(self._last):
                self._grow(max(1024, 2 * slot))
        self._slot_of[trace_id] = slot
        self._last[slot] = now_ns
        self._due[slot] = now_ns
        self._first_record[slot] = record
        self._rooted[slot] = False
        self._spans[slot] = 0
        closed = self._closed.pop(trace_id, None)
        self._late[slot] = closed is not None
        if closed is not None and closed[2]:
            self._last[slot] = closed[2]  # the pause since then teaches how long to wait
        return slot

    def _grow(self, size: int) -> None:
        for name in ("_last", "_due", "_first_record", "_last_record", "_rooted", "_late", "_spans", "_service"):
            old = getattr(self, name)
            new = np.zeros(size, dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _within_limit(self, slots: Slots) -> Slots:
        """Mark as gone the rows of traces that have more spans than one trace may have."""
        before = self._spans[slots]
        self._spans += np.bincount(slots, minlength=len(self._spans))
        limit = self._settings.max_trace_spans
        if (self._spans[slots] <= limit).all():
            return slots
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        rank = np.empty(len(slots), dtype=np.int64)
        rank[order] = np.arange(len(slots)) - np.searchsorted(ordered, ordered)
        over = before + rank >= limit
        self.dropped["trace_too_long"] += int(over.sum())
        kept: Slots = np.where(over, GONE, slots)
        return kept

    def _touch(
        self, slots: Slots, received: Slots, roots: npt.NDArray[np.bool_], services: pa.DictionaryArray
    ) -> npt.NDArray[np.bool_]:
        """Note what has arrived and when each trace is over by that; return the rows that came after that."""
        order = np.lexsort((received, slots))
        slot, at = slots[order], received[order]
        first = np.append(True, slot[1:] != slot[:-1])
        started = np.flatnonzero(first)
        group = np.cumsum(first) - 1

        seen_roots = np.cumsum(roots[order])
        before_trace: Slots = (seen_roots[started] - roots[order][started])[group]
        rooted = (seen_roots > before_trace) | self._rooted[slot] | self._late[slot]
        before = np.where(first, self._last[slot], np.append(0, at[:-1]))
        codes = self._patience.codes(services.dictionary.to_pylist())[services.indices.to_numpy()][order]
        self._service[slot] = codes
        idle = self._patience.waits_ns(codes, np.maximum(at - before, 0))
        due = at + np.where(rooted, self._patience.linger_ns, idle)
        over = np.where(first, self._due[slot], np.append(0, due[:-1]))
        broken = at > over
        # Once a trace is over, all that comes after is later.
        breaks = np.cumsum(broken)
        is_later = breaks - (breaks[started] - broken[started])[group] > 0

        kept = np.flatnonzero(~is_later)
        self._rooted[slot[kept]] = rooted[kept]
        self._last[slot[kept]] = at[kept]
        self._due[slot[kept]] = due[kept]
        later = np.zeros(len(slots), dtype=np.bool_)
        later[order] = is_later
        return later

    def _make_room(self) -> None:
        """Close the stalest traces while there are too many, or too many bytes."""
        over = len(self._slot_of) - self._settings.max_open_traces
        share = 1.0 - self._settings.max_open_bytes / self.open_bytes if self.open_bytes else 0.0
        count = max(over, int(share * len(self._slot_of)) + 1 if share > 0 else 0)
        if count <= 0:
            return
        # A tenth more than needed, so that this is not done again for every batch.
        count = min(len(self._slot_of), count + len(self._slot_of) // 10)
        slots = self._open_slots()
        stalest = slots[np.argpartition(self._last[slots], count - 1)[:count]]
        self._due[stalest] = self._last[stalest]
        self._forced.update(stalest.tolist())

    def _hand_out(self, slots: Slots) -> Closed | None:
        if not len(slots):
            return None
        due = np.zeros(len(self._last), dtype=np.bool_)
        due[slots] = True
        number = np.full(len(self._last), GONE, dtype=np.int64)
        traces = slots[self._spans[slots] > 0]
        number[traces] = np.arange(len(traces))
        spans, rows, span_slots = _taken(self._chunks, due)
        content = self._content_of(number, due)
        forced = np.array([slot in self._forced for slot in traces.tolist()], dtype=np.bool_)
        late = self._late[traces].copy()
        cause = Counter(
            evicted=int(forced.sum()),
            late=int((late & ~forced).sum()),
            root=int((self._rooted[traces] & ~late & ~forced).sum()),
            idle=int((~self._rooted[traces] & ~late & ~forced).sum()),
        )
        ended = traces[~late & ~forced]
        self._patience.learn_roots(self._service[ended], self._rooted[ended])
        for slot in slots.tolist():
            del self._slot_of[self._id_of[slot]]
        for slot in traces.tolist():
            self._closed[self._id_of[slot]] = (
                int(self._first_record[slot]),
                int(self._last_record[slot]),
                int(self._last[slot]),
            )
        while len(self._closed) > _REMEMBERED_CLOSED:
            self._closed.popitem(last=False)
        self._forced.difference_update(slots.tolist())
        self._free.extend(slots.tolist())
        self._chunks = [chunk for chunk in self._chunks if chunk.left]
        self._content = [chunk for chunk in self._content if chunk.left]
        if spans is None:
            return None
        return Closed(spans, rows, number[span_slots], content, late, forced, self._due[traces].copy(), +cause)

    def _content_of(self, number: Slots, due: npt.NDArray[np.bool_]) -> pa.Table | None:
        """The due content of traces that have a number; that of the others, which have no spans, is counted."""
        content, rows, slots = _taken(self._content, due)
        known = number[slots] != GONE
        if not known.all():
            self.dropped["content_without_span"] += int((~known).sum())
        return None if content is None or not known.any() else content.take(pa.array(rows[known]))


def _received(table: pa.Table) -> Slots:
    times: Slots = table["received_time"].cast(pa.int64()).to_numpy()
    return times


def _copied(chunks: list[_Chunk], wanted: npt.NDArray[np.bool_], before: int) -> pa.Table | None:
    """The rows of wanted slots that came before record `before`."""
    parts = []
    for chunk in chunks:
        if chunk.record < before:
            rows = np.flatnonzero((chunk.slots != GONE) & wanted[chunk.slots])
            parts.append(chunk.table.take(pa.array(rows)))
    return pa.concat_tables(parts) if parts else None


def _taken(chunks: list[_Chunk], due: npt.NDArray[np.bool_]) -> tuple[pa.Table | None, Slots, Slots]:
    parts = [part for chunk in chunks if (part := chunk.take(due)) is not None]
    if not parts:
        return None, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    tables = [table for table, _, _ in parts]
    offsets = np.cumsum([0, *(table.num_rows for table in tables[:-1])])
    rows = np.concatenate([rows + offset for (_, rows, _), offset in zip(parts, offsets, strict=True)])
    return pa.concat_tables(tables), rows, np.concatenate([slots for _, _, slots in parts])
