"""Spans in, whole traces out: in any order of arrival, roots last or never, with bounded memory.

Time here is record time: the time at which a request was received, as the eventlog keeps it. It does not trust the
senders' clocks and is the same when the log is read again. A trace is handed out when nothing has arrived for it for
a while: a short while once its root is there, a longer one, learned from the gaps that the service shows, while it
is not. How many records are added at a time makes no difference.

Spans stay in the columns that they came in. A trace is a slot number; rows of a closed slot are taken out of
their chunks with one `take` per chunk.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import id_numbers
from detectors.traces.checkpoint import JUDGED, OPEN, AssemblerState
from detectors.traces.chunks import GONE, Chunk, Mask, Slots, Whole, copied, taken
from detectors.traces.closed import Closed
from detectors.traces.judged import REMEMBERED_IDS, JudgedTraces
from detectors.traces.open_traces import NO_PAST, NO_SERVICE, Clocks, OpenTraces, Past
from detectors.traces.patience import Codes, Patience
from dimwatch.settings import Assembly


class Rest(NamedTuple):
    """Rows that can be added only after what is over at `close_ns` has been closed."""

    spans: pa.Table
    content: pa.Table | None
    close_ns: int


class Assembler:
    """Holds open traces. Not thread-safe; one instance belongs to one worker.

    `recoverable`: `snapshot` will be called now and then; without, the memory for it is saved.
    """

    def __init__(self, settings: Assembly, *, recoverable: bool = False) -> None:
        self._settings = settings
        self._patience = Patience(settings)
        self._open = OpenTraces(self._patience.idle_ns, recoverable=recoverable)
        self._chunks: list[Chunk] = []
        self._content: list[Chunk] = []
        self._judged = JudgedTraces(settings.max_judged_traces)
        self._forced: set[int] = set()
        self.dropped: Counter[str] = Counter()

    @property
    def open_traces(self) -> int:
        """Traces that wait for more spans."""
        return len(self._open)

    @property
    def open_bytes(self) -> int:
        """Bytes held for them."""
        return sum(chunk.bytes for chunk in self._chunks) + sum(chunk.bytes for chunk in self._content)

    def oldest_record(self, since: int) -> int | None:
        """The smallest `record`, not before `since`, in which an open trace began; None if there is none."""
        first = self._open.first_record[self._open.all()]
        first = first[first >= since]
        return int(first.min()) if len(first) else None

    def snapshot(self, base: int, since_ns: int) -> AssemblerState:
        """What must be kept so that reading on from record `base` gives the same traces: all as it was before `base`.

        `base` never goes back from one call to the next. No record from `base` on is older than `since_ns`: of traces
        that had one since then it is always kept that they were judged, because their records come again.
        """
        clocks, levels = self._open.before(base, self._patience.levels())
        slots = self._open.all()
        slots = slots[self._open.first_record[slots] < base]
        old = np.zeros(self._open.size, dtype=np.bool_)
        old[slots] = True
        return AssemblerState(
            open=pa.table(
                [self._open.ids(slots), *clocks.at(slots), self._patience.names(self._open.service[slots])], schema=OPEN
            ),
            judged=self._judged_lately(since_ns),
            learned=self._patience.state(levels),
            spans=copied(self._chunks, old, base),
            content=copied(self._content, old, base),
        )

    def _judged_lately(self, since_ns: int) -> pa.Table:
        ids = self._open.ids(np.fromiter(self._open.pasts, dtype=np.int64))
        pasts = list(self._open.pasts.values())
        for trace_id, past in self._judged.lately(since_ns):  # pairs that are kept would wake the garbage collector
            ids.append(trace_id)
            pasts.append(past)
        return pa.table([ids, *([past[column] for past in pasts] for column in range(len(NO_PAST)))], schema=JUDGED)

    def restore(self, state: AssemblerState) -> None:
        """Take up a snapshot: only before the first `add`."""
        before = -1
        judged = zip(*(state.judged[name].to_pylist() for name in JUDGED.names), strict=True)
        self._judged.restore((trace_id, Past(*past)) for trace_id, *past in judged)
        self._patience.restore(state.learned)
        ids, *clocks, services = (state.open[name] for name in OPEN.names)
        slots = self._slots_of(ids.to_pylist(), np.zeros(len(ids), dtype=np.int64), before)
        self._open.clocks.put(slots, Clocks(*(column.to_numpy() for column in clocks)))
        self._open.service[slots] = self._patience.codes(services.to_pylist())
        for tables, chunks in ((state.spans, self._chunks), (state.content, self._content)):
            for table in tables:
                slots = self._slots(table["trace_id"], _received(table), before)
                chunks.append(Chunk.of(table, slots, before))
                if chunks is self._chunks:
                    self._open.spans += np.bincount(slots, minlength=self._open.size)

    def unjudged(self, rows: pa.Table) -> pa.Table:
        """Of spans or content that are read a second time, what was not judged before the restart."""
        if not rows.num_rows:
            return rows
        encoded = rows["trace_id"].combine_chunks().dictionary_encode()
        until = np.array([self._until(trace_id) for trace_id in encoded.dictionary.to_pylist()], dtype=np.int64)
        fresh = _received(rows) > until[encoded.indices.to_numpy(zero_copy_only=False)]
        return rows if fresh.all() else rows.filter(pa.array(fresh))

    def judged(self, trace_id: str) -> Past | None:
        """What is remembered of a trace that was judged."""
        slot = self._open.find(trace_id)
        return self._judged.get(trace_id) if slot is None else self._open.pasts.get(slot)

    def _until(self, trace_id: str) -> int:
        past = self.judged(trace_id)
        return 0 if past is None else past.until_ns

    def add(
        self, spans: pa.Table, content: pa.Table | None = None, *, record: int, whole: Whole | None = None
    ) -> Rest | None:
        """Take in spans, and content rows (log events) of spans that have come or may come yet, in any order.

        `record` is a number that grows with the log; `whole` is what `spans` is a slice of. Where a row came after its
        trace was over, all rows from that time on are returned: close what is over by then, and add them again.
        """
        count = spans.num_rows
        tables = [spans] if content is None else [spans, content]
        trace_ids = pa.chunked_array([chunk for table in tables for chunk in table["trace_id"].chunks], pa.string())
        if not len(trace_ids):
            return None
        received = np.concatenate([_received(table) for table in tables])
        slots = self._slots(trace_ids, received, record)
        roots = np.zeros(len(slots), dtype=np.bool_)
        roots[:count] = pc.equal(spans["parent_span_id"], "").to_numpy()
        named = spans["service"].combine_chunks().dictionary_encode()
        services = np.full(len(slots), NO_SERVICE, dtype=np.int64)
        services[:count] = self._patience.codes(named.dictionary.to_pylist())[named.indices.to_numpy()]
        until_ns = self._touch(slots, received, roots, services, record)
        rest = None
        if until_ns is not None:
            now = received < until_ns
            parts = [now[:count], now[count:]]
            later = [table.filter(pa.array(~part)) for table, part in zip(tables, parts, strict=False)]
            rest = Rest(later[0], later[1] if content is not None else None, until_ns - 1)
            tables = [table.filter(pa.array(part)) for table, part in zip(tables, parts, strict=False)]
            if whole is not None:
                whole.left -= count
            count, slots, whole = tables[0].num_rows, slots[now], None
        chunk = Chunk.of(tables[0], self._within_limit(self._news(tables[0], slots[:count])), record, whole)
        if chunk.left:
            self._chunks.append(chunk)
        if content is not None and len(slots) > count:
            self._content.append(Chunk.of(tables[1], slots[count:], record))
        self._make_room()
        return rest

    def close(self, now_ns: int) -> Closed | None:
        """Hand out the traces that are over at record time `now_ns`, None if there are none."""
        slots = self._open.all()
        closed = self._hand_out(slots[self._open.clocks.due[slots] <= now_ns])
        for chunk in (*self._chunks, *self._content):
            chunk.compact()
        return closed

    def flush(self) -> Closed | None:
        """Hand out everything: the input has ended."""
        return self._hand_out(self._open.all())

    def _slots(self, trace_ids: pa.ChunkedArray, received: Slots, record: int) -> Slots:
        encoded = trace_ids.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        earliest = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
        np.minimum.at(earliest, codes, received)
        slots: Slots = self._slots_of(encoded.dictionary.to_pylist(), earliest, record)[codes]
        return slots

    def _slots_of(self, trace_ids: list[str], now_ns: Slots, record: int) -> Slots:
        """The slots of distinct traces. Those that are not open are from now on."""
        slots = self._open.find_all(trace_ids)
        new = np.flatnonzero(slots == GONE)
        if len(new):
            opened = [trace_ids[number] for number in new.tolist()]
            pasts = [self._judged.pop(trace_id) for trace_id in opened]
            slots[new] = self._open.open(opened, now_ns[new], record, pasts)
        return slots

    def _news(self, spans: pa.Table, slots: Slots) -> Slots:
        """Mark as gone the rows of spans that were judged before: senders repeat what they had no answer for."""
        late = np.flatnonzero(self._open.judged_spans[slots] > 0)
        if not len(late):
            return slots
        ids = id_numbers(spans["span_id"].take(pa.array(late)).combine_chunks())
        news = slots.copy()
        for slot in np.unique(slots[late]).tolist():
            known = np.frombuffer(self._open.pasts[slot].ids, dtype=np.uint64)
            own = slots[late] == slot
            news[late[own][np.isin(ids[own], known)]] = GONE
        return news

    def _within_limit(self, slots: Slots) -> Slots:
        """Mark as gone the rows of traces that have more spans than one trace may have."""
        present = slots != GONE
        if not present.all():
            slots = slots.copy()
            slots[present] = self._within_limit(slots[present])
            return slots
        before = self._open.spans[slots]
        self._open.spans += np.bincount(slots, minlength=self._open.size)
        limit = self._settings.max_trace_spans
        if (self._open.spans[slots] <= limit).all():
            return slots
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        rank = np.empty(len(slots), dtype=np.int64)
        rank[order] = np.arange(len(slots)) - np.searchsorted(ordered, ordered)
        over = before + rank >= limit
        self.dropped["trace_too_long"] += int(over.sum())
        kept: Slots = np.where(over, GONE, slots)
        return kept

    def _touch(self, slots: Slots, received: Slots, roots: Mask, services: Codes, record: int) -> int | None:
        """Note what has arrived and when each trace is over by that, up to the first row that came after its trace was
        over; return the time of that one, None if there is none. Content has no service."""
        order = np.lexsort((received, slots))
        slot = slots[order]
        first = np.append(True, slot[1:] != slot[:-1])
        started = np.flatnonzero(first)
        group = np.cumsum(first) - 1
        known = self._open.clocks.at(slot)
        # Requests of one moment may be appended in another order than they were received in.
        at = np.maximum(received[order], known.last)

        seen_roots = np.cumsum(roots[order])
        before_trace: Slots = (seen_roots[started] - roots[order][started])[group]
        rooted = (seen_roots > before_trace) | known.rooted
        # How long one waits after the root says nothing of how long one waits for it.
        waiting = (seen_roots - roots[order] == before_trace) & ~known.rooted
        gap = np.where(waiting, at - np.where(first, known.last, np.append(0, at[:-1])), 0)
        rows = np.arange(len(slot))
        levels = self._patience.levels()
        service = services[order]
        wait = self._waits(rows, service, at, gap, np.where(first, known.wait, GONE))
        due = at + np.where(rooted | (self._open.judged_spans[slot] > 0), self._patience.linger_ns, wait)
        broken = received[order] > np.where(first, known.due, np.append(0, due[:-1]))
        until_ns = None
        kept = rows
        if broken.any():
            until_ns = int(received[order][broken].min())
            # What came later must not be known yet when the rest is added again.
            self._patience.set_back(service[service != NO_SERVICE], levels)
            self._waits(rows[received[order] <= until_ns], service, at, gap, wait)
            kept = rows[received[order] < until_ns]
        self._open.note(record, slot[started], levels)
        self._open.clocks.put(slot[kept], Clocks(at, due, wait, rooted).at(kept))
        kept = kept[service[kept] != NO_SERVICE]
        self._open.service[slot[kept]] = service[kept]
        return until_ns

    def _waits(self, rows: Slots, service: Codes, at: Slots, gap: Slots, known: Slots) -> Slots:
        """By row, in order: how long to wait for more while the root is missing; learn from some `rows`.

        Content tells of no service: it waits as long as the span before it, or as `known` for the first of a trace.
        """
        spans = rows[service[rows] != NO_SERVICE]
        wait = known.copy()
        wait[spans] = self._patience.waits_ns(service[spans], at[spans], gap[spans])
        source = np.maximum.accumulate(np.where(wait != GONE, np.arange(len(wait)), 0))
        filled: Slots = wait[source]
        return filled

    def _make_room(self) -> None:
        """Close the stalest traces while there are too many, or too many bytes."""
        traces, size = len(self._open), self.open_bytes
        share = 1.0 - self._settings.max_open_bytes / size if size else 0.0
        count = max(traces - self._settings.max_open_traces, int(share * traces) + 1 if share > 0 else 0)
        if count <= 0:
            return
        # A tenth more than needed, so that this is not done again for every batch.
        count = min(traces, count + traces // 10)
        slots, (last, due, *_) = self._open.all(), self._open.clocks
        stalest = slots[np.argpartition(last[slots], count - 1)[:count]]
        due[stalest] = last[stalest]
        self._forced.update(stalest.tolist())

    def _hand_out(self, slots: Slots) -> Closed | None:
        if not len(slots):
            return None
        due = np.zeros(self._open.size, dtype=np.bool_)
        due[slots] = True
        spans, rows, span_slots = taken(self._chunks, due)
        content, content_rows, content_slots = taken(self._content, due)
        self._chunks = [chunk for chunk in self._chunks if chunk.left]
        self._content = [chunk for chunk in self._content if chunk.left]
        # A trace may have content alone.
        judged = np.unique(span_slots)
        number = np.full(self._open.size, GONE, dtype=np.int64)
        number[judged] = np.arange(len(judged))
        own = content_rows[number[content_slots] != GONE]
        if len(own) < len(content_rows):
            self.dropped["content_without_span"] += len(content_rows) - len(own)
        forced = np.array([slot in self._forced for slot in judged.tolist()], dtype=np.bool_)
        closed = Closed(
            spans,
            rows,
            number[span_slots],
            content.take(pa.array(own)) if content is not None and len(own) else None,
            self._open.judged_spans[judged],
            forced,
            self._open.clocks.due[judged],
        )
        roots, late = self._open.clocks.rooted[judged] & ~closed.late & ~forced, closed.late & ~forced
        closed.cause = +Counter(
            evicted=int(forced.sum()),
            late=int(late.sum()),
            root=int(roots.sum()),
            idle=len(judged) - int((forced | late | roots).sum()),
        )
        ended = judged[~closed.late & ~forced]
        self._patience.learn_roots(self._open.service[ended], self._open.clocks.rooted[ended])
        self._remember_judged(slots, spans, rows, span_slots)
        self._forced.difference_update(slots.tolist())
        self._open.remove(slots)
        return closed if len(judged) else None

    def _remember_judged(self, slots: Slots, spans: pa.Table | None, rows: Slots, span_slots: Slots) -> None:
        """Remember what was in the slots, for spans that come late or again."""
        order = np.argsort(span_slots, kind="stable")
        bounds = np.searchsorted(span_slots[order], slots), np.searchsorted(span_slots[order], slots, side="right")
        ids = b"" if spans is None else id_numbers(spans["span_id"].combine_chunks())[rows[order]].tobytes()
        clocks = self._open.clocks.at(slots)
        columns = slots, clocks.due, clocks.last, clocks.rooted, *bounds
        rows_of = zip(self._open.ids(slots), *(column.tolist() for column in columns), strict=True)
        for trace_id, slot, until_ns, last_ns, rooted, begin, end in rows_of:
            past = self._open.pasts.get(slot, NO_PAST)
            known = (past.ids + ids[8 * begin : 8 * end])[: 8 * REMEMBERED_IDS]
            self._judged.remember(trace_id, Past(until_ns, last_ns, rooted, max(past.spans, end - begin), known))


def _received(table: pa.Table) -> Slots:
    times: Slots = table["received_time"].cast(pa.int64()).to_numpy()
    return times
