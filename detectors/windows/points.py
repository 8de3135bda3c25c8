"""Tables of points: merged, coarsened, and built from facts.

Every sum is exact, so that it does not depend on the order or the grouping in which points are added: logarithms,
their squares and amounts are rounded to multiples of a power of two (GRAIN, about 4e-6; CENT, about 1e-9), and
doubles add such numbers without rounding up to 2^53 of them. Counts are integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.windows import histogram
from detectors.windows.keys import Column, Groups, arrays, column, grouped, stacked
from dimwatch.records import POINT, POINT_WIDTH_NS, SIGHTING

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

GRAIN: Final = 2.0**-18
CENT: Final = 2.0**-30

KEY: Final = (
    "tenant", "time", "subject", "agent", "provider", "model", "tool", "release", "region", "signal",
)  # fmt: skip
"""What makes two points the same; also the order of a merged table."""
SIGHTING_KEY: Final = ("tenant", "agent", "attribute", "key", "value", "time")

NO_POINTS: Final = POINT.empty_table()
NO_SIGHTINGS: Final = SIGHTING.empty_table()
_PART_BYTES: Final = 8 << 20
"""Of a part of `split`, about: a row with the marks of many users takes kilobytes."""
_NO_ROWS: Final = np.zeros(0, dtype=np.int64)


def rounded(values: Floats, grain: float) -> Floats:
    """The nearest multiples of `grain`, a power of two."""
    result: Floats = np.rint(values / grain) * grain
    return result


def merged(tables: Iterable[pa.Table]) -> pa.Table:
    """One table with one row a key, in the order of the keys. It is the same for every order of `tables`, and for
    every way in which points were merged before."""
    points = _together(tables, POINT)
    if not points.num_rows:
        return NO_POINTS
    groups = _groups(points, KEY)
    count = len(groups.first)
    first = pa.array(groups.first)
    shapes = histogram.merged(
        groups.of, histogram.Histograms(_one(points["bucket"]), _one(points["bucket_count"])), count
    )
    columns = {name: _one(points[name]).take(first) for name in KEY}
    for name in ("n", "total", "squares"):
        columns[name] = pa.array(np.bincount(groups.of, weights=points[name].to_numpy(), minlength=count))
    columns |= {"bucket": shapes.bucket, "bucket_count": shapes.count}
    return pa.Table.from_arrays([columns[name] for name in POINT.names], schema=POINT)


def merged_sightings(tables: Iterable[pa.Table]) -> pa.Table:
    """The same for sightings."""
    seen = _together(tables, SIGHTING)
    if not seen.num_rows:
        return NO_SIGHTINGS
    groups = _groups(seen, SIGHTING_KEY)
    first = pa.array(groups.first)
    columns = {name: _one(seen[name]).take(first) for name in SIGHTING_KEY}
    columns["n"] = pa.array(np.bincount(groups.of, weights=seen["n"].to_numpy(), minlength=len(groups.first)))
    return pa.Table.from_arrays([columns[name] for name in SIGHTING.names], schema=SIGHTING)


def coarsened(points: pa.Table, width_ns: int) -> pa.Table:
    """Points of wider windows: `width_ns` is a multiple of their own width."""
    return merged([in_windows(points, width_ns)])


def in_windows(rows: pa.Table, width_ns: int) -> pa.Table:
    """Points or sightings with their times moved to the start of windows of `width_ns`; nothing is added up."""
    times = _numbers(rows["time"])
    return with_times(rows, times - times % width_ns)


def with_times(rows: pa.Table, times_ns: Rows) -> pa.Table:
    """Points or sightings with other times."""
    index = rows.schema.get_field_index("time")
    field = rows.schema.field(index)
    return rows.set_column(index, field, pa.array(times_ns).cast(field.type))


def times_of(rows: pa.Table) -> Rows:
    """Their times in ns."""
    return _numbers(rows["time"])


class Cells:
    """Facts of one subject under construction: each fact has a key and a window, and every signal of it is counted
    or measured over all facts at once."""

    def __init__(self, keys: Mapping[str, Column], times_ns: Rows, owner: Rows) -> None:
        """By fact: keys by column (all of POINT's but `time` and `signal`), window (of POINT_WIDTH_NS) and owner."""
        groups = grouped(keys.values(), times_ns // POINT_WIDTH_NS, owner)
        self._of = groups.of
        self.keys = keys
        self.times = times_ns
        self.owner = owner
        self.fact = groups.first
        """By cell: a fact of it."""
        self.signals: list[Signal] = []

    def hits(self, signal: str, trials: Mask, hits: Mask) -> None:
        """Count hits among trials."""
        self._add(signal, self._count(trials), self._count(trials & hits))

    def events(self, signal: str, marks: Rows) -> None:
        """Count all facts; `marks`: that of each one's user, -1 where it is not known (see `users`)."""
        known = np.flatnonzero(marks >= 0)
        every = np.bincount(self._of, minlength=len(self.fact)).astype(np.float64)
        self._add(signal, every, every, None, self._of[known], marks[known])

    def level(self, signal: str, measured: Mask, values: Floats, least: float = 0.0) -> None:
        """Measure, where `measured` and the value is positive and finite; values below `least` count as that."""
        value = np.maximum(values, least)
        rows = np.flatnonzero(measured & (value > 0) & np.isfinite(value))
        if not len(rows):
            return
        cell, logs = self._of[rows], np.log(value[rows])
        count = len(self.fact)
        self._add(
            signal,
            np.bincount(cell, minlength=count).astype(np.float64),
            _sums(cell, rounded(logs, GRAIN), count),
            _sums(cell, rounded(logs * logs, GRAIN), count),
            cell,
            histogram.bucket_of(logs),
        )

    def amount(self, signal: str, known: Mask, values: Floats) -> None:
        """Add up amounts that are multiples of CENT; without any that are known there is no point."""
        self._add(signal, self._count(known), _sums(self._of[known], values[known], len(self.fact)))

    def _count(self, mask: Mask) -> Floats:
        return np.bincount(self._of[mask], minlength=len(self.fact)).astype(np.float64)

    def _add(
        self,
        name: str,
        n: Floats,
        total: Floats,
        squares: Floats | None = None,
        measured: Rows = _NO_ROWS,
        bucket: Rows = _NO_ROWS,
    ) -> None:
        cells = np.flatnonzero(n)
        if len(cells):
            squares = np.zeros(len(cells)) if squares is None else squares[cells]
            self.signals.append(Signal(name, cells, n[cells], total[cells], squares, measured, bucket))


class Signal(NamedTuple):
    """One signal of the facts: sums by cell, and the bucket of each measurement with its cell."""

    name: str
    cells: Rows
    n: Floats
    total: Floats
    squares: Floats
    measured: Rows
    bucket: Rows


def table_of(sections: Sequence[Cells]) -> tuple[pa.Table, Rows]:
    """Points of facts of several subjects: one row a signal and cell that has been counted or measured; and the owner
    of each."""
    signals = [(section, signal) for section in sections for signal in section.signals]
    if not signals:
        return NO_POINTS, _NO_ROWS
    starts = np.cumsum([0, *(len(section.times) for section in sections)])
    start_of = dict(zip(map(id, sections), starts.tolist(), strict=False))
    facts = np.concatenate([start_of[id(section)] + section.fact[signal.cells] for section, signal in signals])
    rows = np.cumsum([0, *(len(signal.cells) for _, signal in signals)])
    # Every cell of a measurement has a row of its signal.
    owners = [
        row + np.searchsorted(signal.cells, signal.measured)
        for (_, signal), row in zip(signals, rows.tolist(), strict=False)
    ]
    buckets = [signal.bucket for _, signal in signals]
    shapes = histogram.gathered(np.concatenate(owners), np.concatenate(buckets), None, len(facts))
    names = pa.array([signal.name for _, signal in signals])
    which = np.repeat(np.arange(len(signals)), np.diff(rows))
    keys = {name: stacked([section.keys[name] for section in sections]) for name in sections[0].keys}
    columns = arrays(keys, facts) | {
        "time": pa.array(np.concatenate([section.times for section in sections])[facts]).cast(POINT.field("time").type),
        "signal": names.take(pa.array(which)),
        "n": pa.array(np.concatenate([signal.n for _, signal in signals])),
        "total": pa.array(np.concatenate([signal.total for _, signal in signals])),
        "squares": pa.array(np.concatenate([signal.squares for _, signal in signals])),
        "bucket": shapes.bucket,
        "bucket_count": shapes.count,
    }
    owner = np.concatenate([section.owner for section in sections])[facts]
    return pa.Table.from_arrays([columns[name] for name in POINT.names], schema=POINT), owner


def split(rows: pa.Table, most: int) -> Sequence[pa.Table]:
    """Parts of at most `most` rows, fewer where rows are large; at least one part, which may be empty."""
    most = min(most, max(rows.num_rows * _PART_BYTES // max(rows.nbytes, 1), 1))
    return [rows.slice(start, most) for start in range(0, max(rows.num_rows, 1), most)]


def _together(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    found = [table for table in tables if table.num_rows]
    return pa.concat_tables(found) if found else schema.empty_table()


def _groups(rows: pa.Table, key: Sequence[str]) -> Groups:
    """Groups in the order of `key`."""
    times = times_of(rows)
    distinct = np.unique(times)
    time = Column(np.searchsorted(distinct, times), pa.array(distinct))
    return grouped(time if name == "time" else column(rows[name]).ordered() for name in key)


def _sums(group: Rows, values: Floats, groups: int) -> Floats:
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _numbers(times: pa.ChunkedArray) -> Rows:
    numbers: Rows = pc.cast(times, pa.int64()).to_numpy()
    return numbers
