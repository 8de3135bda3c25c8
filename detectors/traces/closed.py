"""Traces that are over, as an assembler hands them out to be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from detectors.traces.chunks import Mask, Slots


@dataclass(slots=True)
class Closed:
    """Traces to be judged."""

    spans: pa.Table
    rows: Slots  # those rows of `spans` that belong here
    trace: Slots  # by row: the number of its trace in this batch
    content: pa.Table | None
    judged_spans: Slots  # by trace: spans that were judged before; what is here now came late
    forced: Mask  # by trace: closed for lack of room, not because it was over
    due_ns: Slots  # by trace: the record time at which it was over
    cause: Counter[str] = field(default_factory=Counter)

    @property
    def traces(self) -> int:
        """How many traces there are."""
        return len(self.due_ns)

    @property
    def late(self) -> Mask:
        """By trace: an addition to a trace that was judged before."""
        return self.judged_spans > 0

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
                self.judged_spans[first:last],
                self.forced[first:last],
                self.due_ns[first:last],
            )
