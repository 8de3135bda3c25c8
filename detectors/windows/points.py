"""Tables of points: merged, coarsened, and built from facts.

Every sum is exact, so that it does not depend on the order or the grouping in which points are added: logarithms,
their squares and amounts are rounded to multiples of a power of two (GRAIN, about 4e-6; CENT, about 1e-9), and
doubles add such numbers without rounding up to 2^53 of them. Counts are integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.windows import histogram
from detectors.windows.keys import codes, grouped
from dimwatch.records import POINT, SIGHTING

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
    groups = grouped(codes(_numbers(points["time"]) if name == "time" else points[name]) for name in KEY)
    count = len(groups.first)
    first = pa.array(groups.first)
    bucket, bucket_count = histogram.merged(groups.of, _one(points["bucket"]), _one(points["bucket_count"]), count)
    columns = {name: _one(points[name]).take(first) for name in KEY}
    for name in ("n", "total", "squares"):
        columns[name] = pa.array(np.bincount(groups.of, weights=points[name].to_numpy(), minlength=count))
    columns |= {"bucket": bucket, "bucket_count": bucket_count}
    return pa.Table.from_arrays([columns[name] for name in POINT.names], schema=POINT)


def merged_sightings(tables: Iterable[pa.Table]) -> pa.Table:
    """The same for sightings."""
    seen = _together(tables, SIGHTING)
    if not seen.num_rows:
        return NO_SIGHTINGS
    groups = grouped(codes(_numbers(seen["time"]) if name == "time" else seen[name]) for name in SIGHTING_KEY)
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

    def __init__(self, keys: dict[str, pa.Array], times_ns: Rows) -> None:
        """`keys` by column, all of POINT's but `time` and `signal`, and the window of each fact."""
        groups = grouped([*(codes(column) for column in keys.values()), codes(times_ns)])
        self._of = groups.of
        self._keys = {name: column.take(pa.array(groups.first)) for name, column in keys.items()}
        self._times = times_ns[groups.first]
        self._signals: list[tuple[str, Rows, dict[str, pa.Array]]] = []

    def hits(self, signal: str, trials: Mask, hits: Mask) -> None:
        """Count hits among trials."""
        n = self._sum(trials)
        self._add(signal, n, self._sum(trials & hits), np.zeros(len(n)))

    def level(self, signal: str, measured: Mask, values: Floats, least: float = 0.0) -> None:
        """Measure, where `measured` and the value is positive and finite; values below `least` count as that."""
        rows = np.flatnonzero(measured)
        value = np.maximum(values[rows], least)
        sound = (value > 0) & np.isfinite(value)
        rows, value = rows[sound], value[sound]
        cell = self._of[rows]
        count = len(self._times)
        logs = np.log(value)
        histograms = histogram.gathered(cell, histogram.bucket_of(value), np.ones(len(rows), dtype=np.int64), count)
        self._add(
            signal,
            np.bincount(cell, minlength=count).astype(np.float64),
            _sums(cell, rounded(logs, GRAIN), count),
            _sums(cell, rounded(logs * logs, GRAIN), count),
            histograms,
        )

    def amount(self, signal: str, known: Mask, values: Floats) -> None:
        """Add up amounts that are multiples of CENT; without any that are known there is no point."""
        n = self._sum(known)
        self._add(signal, n, _sums(self._of[known], values[known], len(n)), np.zeros(len(n)))

    def table(self) -> pa.Table:
        """One row a signal and cell that has been counted or measured."""
        if not self._signals:
            return NO_POINTS
        return pa.concat_tables([self._rows(*signal) for signal in self._signals])

    def _sum(self, mask: Mask) -> Floats:
        return np.bincount(self._of[mask], minlength=len(self._times)).astype(np.float64)

    def _add(
        self,
        signal: str,
        n: Floats,
        total: Floats,
        squares: Floats,
        histograms: tuple[pa.ListArray, pa.ListArray] | None = None,
    ) -> None:
        cells = np.flatnonzero(n)
        if not len(cells):
            return
        pick = pa.array(cells)
        if histograms is None:
            empty = pa.array(np.zeros(len(cells) + 1, dtype=np.int32))
            bucket = pa.ListArray.from_arrays(empty, pa.array([], pa.int16()), type=histogram.BUCKET_TYPE)
            count = pa.ListArray.from_arrays(empty, pa.array([], pa.uint32()), type=histogram.COUNT_TYPE)
        else:
            bucket, count = (lists.take(pick) for lists in histograms)
        values = {
            "n": pa.array(n[cells]),
            "total": pa.array(total[cells]),
            "squares": pa.array(squares[cells]),
            "bucket": bucket,
            "bucket_count": count,
        }
        self._signals.append((signal, cells, values))

    def _rows(self, signal: str, cells: Rows, values: dict[str, pa.Array]) -> pa.Table:
        pick = pa.array(cells)
        columns = {name: _plain(column.take(pick)) for name, column in self._keys.items()} | values
        columns["time"] = pa.array(self._times[cells]).cast(POINT.field("time").type)
        columns["signal"] = pa.repeat(pa.scalar(signal), len(cells))
        return pa.Table.from_arrays([columns[name] for name in POINT.names], schema=POINT)


def split(rows: pa.Table, most: int) -> Sequence[pa.Table]:
    """Parts of at most `most` rows; at least one part, which may be empty."""
    return [rows.slice(start, most) for start in range(0, max(rows.num_rows, 1), most)]


def _together(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    found = [table for table in tables if table.num_rows]
    return pa.concat_tables(found) if found else schema.empty_table()


def _sums(group: Rows, values: Floats, groups: int) -> Floats:
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _numbers(times: pa.ChunkedArray) -> Rows:
    numbers: Rows = pc.cast(times, pa.int64()).to_numpy()
    return numbers
