"""What is known of each open trace, in arrays by slot; and how it was before a record that is read again later."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.traces.chunks import GONE, Slots

Column = npt.NDArray[Any]

NO_SERVICE: Final = -1
_FIRST_SIZE: Final = 1024


class Past(NamedTuple):
    """What is remembered of a trace that was judged."""

    until_ns: int  # what came until then was judged
    last_ns: int  # when it was last heard of
    rooted: bool
    spans: int  # how many there were
    ids: bytes  # of the spans, eight bytes each: one that is sent again is no news


NO_PAST: Final = Past(0, 0, False, 0, b"")


class Clocks(NamedTuple):
    """The part of the state that records change, by slot."""

    last: Column  # when it was last heard of
    due: Column  # when it is over, if nothing else comes
    wait: Column  # how long its last span waits for more while the root is missing
    rooted: Column

    def at(self, slots: Slots) -> Clocks:
        """A copy for some slots."""
        return Clocks(*(column[slots] for column in self))

    def put(self, slots: Slots, values: Clocks) -> None:
        """Set some slots."""
        for column, value in zip(self, values, strict=True):
            column[slots] = value


class _Before(NamedTuple):
    """What a record has changed, as it was before."""

    record: int
    slots: Slots
    clocks: Clocks
    levels: Column


class OpenTraces:
    """Slots of open traces. `recoverable`: keep what `before` needs."""

    def __init__(self, idle_ns: int, *, recoverable: bool) -> None:
        self._idle_ns = idle_ns
        self._slot_of: dict[str, int] = {}
        self._ids: list[str] = []
        self._free: list[int] = []
        self._journal: deque[_Before] | None = deque() if recoverable else None
        self.size = 0
        nothing = np.empty(0, dtype=np.int64)
        self.clocks = Clocks(nothing, nothing, nothing, nothing.astype(np.bool_))
        self.spans = np.empty(0, dtype=np.int64)
        self.first_record = np.empty(0, dtype=np.int64)
        self.judged_spans = np.empty(0, dtype=np.int64)
        self.service = np.empty(0, dtype=np.int64)  # see `Patience.codes`
        self.pasts: dict[int, Past] = {}
        """By slot, of traces that were judged before."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def all(self) -> Slots:
        """The slots in use."""
        return np.fromiter(self._slot_of.values(), dtype=np.int64, count=len(self._slot_of))

    def find(self, trace_id: str) -> int | None:
        """The slot of a trace, if it is open."""
        return self._slot_of.get(trace_id)

    def ids(self, slots: Slots) -> list[str]:
        """The traces of some slots."""
        return [self._ids[slot] for slot in slots.tolist()]

    def find_all(self, trace_ids: list[str]) -> Slots:
        """The slots of traces, GONE for those that are not open."""
        return np.fromiter(map(self._slot_of.get, trace_ids, repeat(GONE)), dtype=np.int64, count=len(trace_ids))

    def open(self, trace_ids: list[str], now_ns: Slots, record: int, pasts: list[Past]) -> Slots:
        """Slots for traces that are not open yet, each with the time from which it is."""
        reused = [self._free.pop() for _ in range(min(len(self._free), len(trace_ids)))]
        for slot, trace_id in zip(reused, trace_ids, strict=False):
            self._ids[slot] = trace_id
        more = range(len(self._ids), len(self._ids) + len(trace_ids) - len(reused))
        self._ids.extend(trace_ids[len(reused) :])
        if len(self._ids) > self.size:
            self._grow(max(_FIRST_SIZE, 2 * len(self._ids)))
        taken = reused + list(more)
        self._slot_of.update(zip(trace_ids, taken, strict=True))
        slots = np.array(taken, dtype=np.int64)
        last, due, wait, rooted = self.clocks
        last[slots], due[slots], wait[slots], rooted[slots] = now_ns, now_ns, self._idle_ns, False
        self.spans[slots], self.first_record[slots] = 0, record
        self.judged_spans[slots], self.service[slots] = 0, NO_SERVICE
        for slot, past in zip(taken, pasts, strict=True):
            if past is not NO_PAST:
                last[slot], rooted[slot], self.judged_spans[slot] = past.last_ns, past.rooted, past.spans
                self.pasts[slot] = past
        return slots

    def remove(self, slots: Slots) -> None:
        """Give up slots."""
        for trace_id in self.ids(slots):
            del self._slot_of[trace_id]
        if self.pasts:
            for slot in slots.tolist():
                self.pasts.pop(slot, None)
        self._free.extend(slots.tolist())

    def note(self, record: int, slots: Slots, levels: Column) -> None:
        """Keep how slots and `levels` (whatever they are) were before `record` changed them."""
        if self._journal is not None:
            self._journal.append(_Before(record, slots, self.clocks.at(slots), levels))

    def before(self, record: int, levels: Column) -> tuple[Clocks, Column]:
        """Clocks and levels (now `levels`) as they were before `record`, which never goes back from call to call.

        Of slots that were taken since then, they say nothing.
        """
        assert self._journal is not None, "made without `recoverable`"
        while self._journal and self._journal[0].record < record:
            self._journal.popleft()
        clocks = Clocks(*(column.copy() for column in self.clocks))
        for change in reversed(self._journal):
            clocks.put(change.slots, change.clocks)
        return clocks, self._journal[0].levels if self._journal else levels

    def _grow(self, size: int) -> None:
        def grown(old: Column) -> Column:
            new: Column = np.zeros(size, dtype=old.dtype)
            new[: len(old)] = old
            return new

        self.size = size
        self.clocks = Clocks(*(grown(column) for column in self.clocks))
        self.spans, self.first_record = grown(self.spans), grown(self.first_record)
        self.judged_spans, self.service = grown(self.judged_spans), grown(self.service)
