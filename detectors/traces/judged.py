"""What is remembered of traces that were judged, for spans that come late or again: the newest, within bounds."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from detectors.traces.open_traces import NO_PAST, Past
from dimwatch.settings import MIB

REMEMBERED_IDS: Final = 4_096
"""Of the spans of one trace."""
_BYTES: Final = 32 * MIB
_TRACES_IN_CHECKPOINT: Final = 50_000
_BYTES_IN_CHECKPOINT: Final = 4 * MIB
"""More only of traces whose records come again."""
_MARKS: Final = 1_000


class JudgedTraces:
    """By trace id, oldest first: `most` at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pasts: OrderedDict[str, Past] = OrderedDict()
        self._bytes = 0
        self._count = 0
        """How many have been kept so far."""
        self._until_ns = 0
        """The greatest `until_ns` of those."""
        self._marks: deque[tuple[int, int]] = deque(maxlen=_MARKS)
        """Both as they were at former checkpoints."""

    def get(self, trace_id: str) -> Past | None:
        """What is remembered of a trace, None if nothing."""
        return self._pasts.get(trace_id)

    def pop(self, trace_id: str) -> Past:
        """The same, and forget it; NO_PAST if nothing is remembered."""
        past = self._pasts.pop(trace_id, NO_PAST)
        self._bytes -= len(past.ids)
        return past

    def remember(self, trace_id: str, past: Past) -> None:
        """Keep a trace as the newest."""
        self._pasts[trace_id] = past
        self._bytes += len(past.ids)
        self._count += 1
        self._until_ns = max(self._until_ns, past.until_ns)
        while len(self._pasts) > self._most or self._bytes > _BYTES:
            _, oldest = self._pasts.popitem(last=False)
            self._bytes -= len(oldest.ids)

    def lately(self, since_ns: int) -> Iterator[tuple[str, Past]]:
        """Traces for a checkpoint, newest first: as many as fit into it, and all that had a record since `since_ns`."""
        self._marks.append((self._count, self._until_ns))
        while len(self._marks) > 1 and self._marks[1][1] < since_ns:
            self._marks.popleft()
        count, until_ns = self._marks[0]
        # Those before a mark that is older than that had none.
        most = max(_TRACES_IN_CHECKPOINT, self._count - (count if until_ns < since_ns else 0))
        size = 0
        for number, (trace_id, past) in enumerate(islice(reversed(self._pasts.items()), most)):
            size += len(past.ids)
            if past.last_ns >= since_ns or (number < _TRACES_IN_CHECKPOINT and size <= _BYTES_IN_CHECKPOINT):
                yield trace_id, past

    def restore(self, pasts: Iterable[tuple[str, Past]]) -> None:
        """Take up what `lately` gave."""
        for trace_id, past in pasts:
            self.remember(trace_id, past)
        self._pasts = OrderedDict(reversed(self._pasts.items()))
