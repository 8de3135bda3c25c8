"""Partial points of workers in, closed minutes of the whole fleet out: in order, each once, empty ones too.

A minute is closed when every source has judged everything that was over up to its end plus the lateness (see
`facts`): then nothing can come for it any more. What comes all the same (a worker that was given up, a clock that was
set back) is counted and added to the oldest minute that is open. The same points and watermarks give the same
minutes, whatever order they come in, as long as none is late.

After a day without any point no more empty minutes are made, until there is a point again: by then nobody learns
anything from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import structlog

from detectors.windows.bounds import Bounds
from detectors.windows.marks import PATIENCE_NS, Marks
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.points import (
    NO_POINTS,
    NO_SIGHTINGS,
    coarsened,
    in_windows,
    merged,
    merged_sightings,
    times_of,
    with_times,
)
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection

MOST_EMPTY: Final = 24 * 60
"""Minutes without a point, after which they are not made any more."""
_MOST_OPEN: Final = 300_000
"""Points and sightings that are kept open for sources that are far behind: the state of the fleet stage is one
record."""
_PARTS: Final = 64
"""Tables that are kept before they are merged."""
_EVER: Final = np.iinfo(np.int64).max
_BEFORE, _VERSION = 1, 2

Times = npt.NDArray[np.int64]

_log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """What did not go as planned, since the beginning."""

    late: int = 0
    """Rows that came after their minute was closed."""
    folded: int = 0
    """Series, once a minute, that were counted under `other` for want of room."""
    skipped: int = 0
    """Minutes that were not made after a day without any point."""
    taken_back: int = 0
    """How often minutes were opened again, because the clocks that had closed them were set back."""


class Windower:
    """Not thread-safe. Bounded by `max_series` and by what is open: the lateness, and how far sources are apart: ten
    minutes, or more while those behind catch up and there is room in `_MOST_OPEN`."""

    def __init__(self, settings: Detection) -> None:
        self._lateness = int(settings.lateness_s * NS_PER_SECOND)
        self._bounds = Bounds(settings.max_series)
        self._points: list[pa.Table] = []
        self._sightings: list[pa.Table] = []
        self._marks = Marks()
        self._next: int | None = None
        """The oldest open minute; None before the first point."""
        self._empty = 0
        """Empty minutes since the last that was not."""
        self.counts = Counts()
        self.back_to_ns: int | None = None
        """The oldest minute that `go_back` may open again, None without any; whoever keeps the state sets it."""

    @property
    def watermark_ns(self) -> int | None:
        """The record time up to which every source has judged, None before all have said so; see `Marks`."""
        return self._marks.watermark_ns

    @property
    def went_back(self) -> bool:
        """Whether all sources are far behind what is closed, since clocks that were wrong have closed it, and it can be
        opened again."""
        watermark = self.watermark_ns
        if watermark is None or self.back_to_ns is None:
            return False
        return self.back_to_ns - PATIENCE_NS <= watermark < self.next_ns - PATIENCE_NS

    @property
    def next_ns(self) -> int:
        """Start of the oldest open minute; 0 before the first point."""
        return self._next or 0

    def leapt(self) -> bool:
        """Whether the sources have leapt ahead since this was asked last."""
        leapt, self._marks.leapt = self._marks.leapt, False
        return leapt

    def add(self, points: pa.Table | None, sightings: pa.Table | None, source: str, watermark_ns: int = 0) -> None:
        """Take in what a source says, and how far it has judged (0 if `tell` was told already); None for what this
        message does not speak of, since points and sightings may come by different ways."""
        for kind, table, parts in (("points", points, self._points), ("sightings", sightings, self._sightings)):
            if table is None:
                continue
            self._marks.tell(source, kind, watermark_ns)
            if table.num_rows:
                parts.append(self._in_time(table))
        if len(self._points) > _PARTS:
            self._points[:] = [merged(self._points)]
        if len(self._sightings) > _PARTS:
            self._sightings[:] = [merged_sightings(self._sightings)]

    def tell(self, kind: str, source: str, watermark_ns: int, sources: int, *, behind: bool = False) -> None:
        """A source says how far it has judged what it says of `kind`, `points` or `sightings`; see `Marks.tell`."""
        self._marks.tell(source, kind, watermark_ns, sources, behind=behind)

    def closed(self) -> Iterator[Minute]:
        """The minutes that are complete by now. Take them all before anything is added."""
        if self._marks.waits and self._is_full():
            self._marks.give_up()
        watermark = self.watermark_ns
        if watermark is not None:
            yield from self._close((watermark - self._lateness) // MINUTE_NS * MINUTE_NS, trailing=True)

    def rest(self) -> Iterator[Minute]:
        """The minutes that are open: the input has ended, and with it the last minute that something happened in."""
        yield from self._close(_EVER, trailing=False)

    def resume(self) -> None:
        """Others tell from here on, maybe much later: no source is waited for until it says something, and the time in
        between makes no empty minutes."""
        self._marks.clear()
        self._empty = MOST_EMPTY

    def go_back(self, state: bytes) -> None:
        """Open again what was closed since `state` was taken; what has come since then is kept."""
        marks, counts, closed_ns, points, sightings = (
            self._marks, self.counts, self.next_ns, self._points, self._sightings
        )  # fmt: skip
        self.restore(state)
        self._marks, self.counts, self.back_to_ns = marks, counts, None
        self.counts.taken_back += 1
        for parts, open_ in ((self._points, points), (self._sightings, sightings)):
            parts[:] = [part.filter(pa.array(_minutes(part) < closed_ns)) for part in parts]
            parts += [self._in_time(part) for part in open_]

    def _is_full(self) -> bool:
        def rows() -> int:
            return sum(part.num_rows for part in (*self._points, *self._sightings))

        if rows() > _MOST_OPEN:
            self._points[:] = [merged(self._points)]
            self._sightings[:] = [merged_sightings(self._sightings)]
        return rows() > _MOST_OPEN

    def _in_time(self, rows: pa.Table) -> pa.Table:
        if self._next is None or self.went_back:
            return rows
        times = times_of(rows)
        late = int((times < self._next).sum())
        if not late:
            return rows
        self.counts.late += late
        return with_times(rows, np.maximum(times, self._next))

    def _close(self, until_ns: int, *, trailing: bool) -> Iterator[Minute]:
        """Close what begins before `until_ns`; `trailing`: empty minutes after the last point too."""
        if self._next is not None and until_ns <= self._next:
            return
        points = merged(self._points)
        sightings = merged_sightings([in_windows(part, MINUTE_NS) for part in self._sightings])
        begins = np.unique(np.concatenate([_minutes(points), _minutes(sightings)]))
        if self._next is None:
            if not len(begins) or begins[0] >= until_ns:
                return  # nothing is due, and an older minute may still come
            self._next = int(begins[0])
        due, open_ = begins[begins < until_ns], begins[begins >= until_ns]
        kept = until_ns if trailing or len(open_) else (int(due[-1]) + MINUTE_NS if len(due) else self._next)
        self._points = [points.filter(pa.array(times_of(points) >= kept))]
        self._sightings = [sightings.filter(pa.array(times_of(sightings) >= kept))]
        for minute in self._minutes(due, points, sightings):
            yield from self._empty_until(minute.start_ns)
            self._next, self._empty = minute.end_ns, 0
            yield minute
        if trailing:
            yield from self._empty_until(until_ns)

    def _minutes(self, begins: Times, points: pa.Table, sightings: pa.Table) -> list[Minute]:
        """The minutes that begin at `begins`, within the bounds: all at once while there is room, else one by one."""
        fine, seen = by_minute(points, begins), by_minute(sightings, begins)
        if not len(begins):
            return []
        bounded = self._bounded(pa.concat_tables(fine), pa.concat_tables(seen))
        if bounded is None:
            parts = zip(begins.tolist(), fine, seen, strict=True)
            return [self._minutes(np.array([begin]), *part)[0] for begin, *part in parts]
        points, sightings = bounded
        tables = (coarsened(points, MINUTE_NS), sightings, points)
        columns = [by_minute(table, begins) for table in tables]
        return [Minute(begin, *parts) for begin, *parts in zip(begins.tolist(), *columns, strict=True)]

    def _bounded(self, points: pa.Table, sightings: pa.Table) -> tuple[pa.Table, pa.Table] | None:
        bounded = self._bounds.points(points, _minutes(points))
        seen = self._bounds.sightings(sightings, _minutes(sightings))
        if bounded is None or seen is None:
            return None
        if folded := bounded[1] + seen[1]:
            if not self.counts.folded:
                _log.warning("more series than detection.max_series allows: the rest is counted under `other`")
            self.counts.folded += folded
        return bounded[0], seen[0]

    def _empty_until(self, begin: int) -> Iterator[Minute]:
        assert self._next is not None
        while self._next < begin and self._empty < MOST_EMPTY:
            start, self._next, self._empty = self._next, self._next + MINUTE_NS, self._empty + 1
            yield Minute(start, NO_POINTS, NO_SIGHTINGS)
        if self._next < begin:
            self.counts.skipped += (begin - self._next) // MINUTE_NS
            self._next = begin

    def snapshot(self) -> bytes:
        """Everything that `restore` needs to go on from here."""
        parts = [
            records.encode(table)
            for table in (merged(self._points), merged_sightings(self._sightings), *self._bounds.snapshot())
        ]
        head = {
            "version": _VERSION,
            "marks": self._marks.state(),
            "next": self._next,
            "empty": self._empty,
            "counts": asdict(self.counts),
            "lengths": [len(part) for part in parts],
        }
        encoded = orjson.dumps(head, option=orjson.OPT_SORT_KEYS)
        return b"".join([len(encoded).to_bytes(8, "big"), encoded, *parts])

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. Raises InvalidError for anything else."""
        start = 8 + int.from_bytes(state[:8], "big")
        try:
            head = orjson.loads(state[8:start])
            if head["version"] not in (_VERSION, _BEFORE):
                raise InvalidError(f"windows of version {head['version']}, this program writes {_VERSION}")
            tables = []
            for length in head["lengths"]:
                tables.append(records.decode(state[start : start + length]))
                start += length
            points, sightings, *bounds = tables
            self._marks = Marks()
            if head["version"] == _VERSION:  # by the version before, nobody is waited for who does not tell
                self._marks.load(head["marks"])
            self._next, self._empty = head["next"], head["empty"]
            self.counts = Counts(**head["counts"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"not a snapshot of windows: {error!r}") from error
        self._points, self._sightings = [points], [sightings]
        self._bounds.restore(bounds)


def _minutes(rows: pa.Table) -> Times:
    times = times_of(rows)
    return times - times % MINUTE_NS


def by_minute(rows: pa.Table, begins: Times) -> list[pa.Table]:
    """The rows of each of these minutes (ascending), in the order in which they are."""
    minutes = _minutes(rows)
    if (minutes[1:] < minutes[:-1]).any():
        order = np.argsort(minutes, kind="stable")
        rows, minutes = rows.take(pa.array(order)), minutes[order]
    first, last = np.searchsorted(minutes, begins), np.searchsorted(minutes, begins, side="right")
    return [rows.slice(start, end - start) for start, end in zip(first.tolist(), last.tolist(), strict=True)]
