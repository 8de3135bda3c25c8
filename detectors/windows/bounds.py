"""The bound on how many series, cells and sightings are kept apart; what comes beyond is counted under `other`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.windows.keys import Column, column, grouped
from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import merged, merged_sightings
from detectors.windows.registry import Registry, hashes

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OTHER: Final = "other"
_LEAF: Final = ("tenant", "subject", "agent", "provider", "model", "tool")
_CELL: Final = ("release", "region")
_SEEN: Final = ("tenant", "agent", "attribute", "key")
_CELLS_A_SERIES: Final = 4
_VALUES: Final = 32
"""Different values of one attribute in one minute."""


class Bounds:
    """At most so many series, four times as many cells (series by release and region), and as many things to sight.

    Rows of several minutes may come at once while there is room; where there is not, None comes back, and they must
    come minute by minute. Either way gives the same.
    """

    def __init__(self, most: int) -> None:
        self._series, self._cells, self._seen = Registry(most), Registry(_CELLS_A_SERIES * most), Registry(most)

    def points(self, points: pa.Table, minutes: Rows) -> tuple[pa.Table, int] | None:
        """Points with what there is no room for under `other`, and how many series that were. `minutes` by row."""
        if not points.num_rows:
            return points, 0
        columns = {name: column(points[name]) for name in (*_LEAF, *_CELL)}
        leaf = hashes([columns[name] for name in _LEAF])
        known = self._series.admit(leaf, minutes)
        if known is None:
            return None
        cells = hashes([columns[name] for name in (*_LEAF, *_CELL)])
        apart = known.copy()
        if known.any():
            admitted = self._cells.admit(cells[known], minutes[known])
            if admitted is None:
                return None
            apart[known] = admitted
        if apart.all():
            return points, 0
        for name in ("agent", "provider", "model", "tool"):
            points = _folded(points, name, ~known & _said(columns[name]))
        for name in _CELL:
            points = _folded(points, name, ~apart & _said(columns[name]))
        return merged([points]), len(np.unique(cells[~apart]))

    def sightings(self, seen: pa.Table, minutes: Rows) -> tuple[pa.Table, int] | None:
        """The same for sightings; also, values of one attribute beyond the commonest ones are `other`."""
        if not seen.num_rows:
            return seen, 0
        columns = [column(seen[name]) for name in _SEEN]
        key = hashes(columns)
        known = self._seen.admit(key, minutes)
        if known is None:
            return None
        rank = _rank(columns, minutes, seen)
        if known.all() and (rank < _VALUES).all():
            return seen, 0
        for name in ("agent", "key", "value"):
            seen = _folded(seen, name, ~known)
        seen = _folded(seen, "value", rank >= _VALUES)
        return merged_sightings([seen]), len(np.unique(key[~known]))

    def snapshot(self) -> list[pa.Table]:
        """What has its place."""
        return [registry.snapshot() for registry in (self._series, self._cells, self._seen)]

    def restore(self, state: Sequence[pa.Table]) -> None:
        """Take up a snapshot."""
        for registry, table in zip((self._series, self._cells, self._seen), state, strict=True):
            registry.restore(table)


def _rank(key: Sequence[Column], minutes: Rows, seen: pa.Table) -> Rows:
    """By row: how many values of the same key and minute are commoner, or as common and before it."""
    group = grouped(key, minutes // MINUTE_NS).of
    order = np.lexsort((column(seen["value"]).ordered().of, -seen["n"].to_numpy(), group))
    ordered = group[order]
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return rank


def _said(strings: Column) -> Mask:
    said: Mask = strings.of != strings.number("")
    return said


def _folded(rows: pa.Table, name: str, where: Mask) -> pa.Table:
    if not where.any():
        return rows
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(index), pc.if_else(pa.array(where), OTHER, rows[name]))
