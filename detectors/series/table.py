"""Columns of equal length that grow together: the state of all series of a kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.series.arrays import IntArray

Array = NDArray[Any]


class Table:
    """Named numpy columns, one row a series; a column of width w is a matrix of w values a row."""

    def __init__(self, **columns: tuple[DTypeLike, int, float]) -> None:
        """Each column as (dtype, width or 0 for a plain one, the value of new rows)."""
        self._kinds = columns
        self._columns: dict[str, Array] = {name: self._new(name, 0) for name in columns}
        self.rows = 0

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]

    def __setitem__(self, name: str, values: Array | float) -> None:
        self._columns[name][...] = values

    def grow(self, rows: int) -> None:
        """Add rows up to this many."""
        if rows <= self.rows:
            return
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, self._new(name, rows - self.rows)])
        self.rows = rows

    def take(self, rows: IntArray) -> None:
        """Keep these rows only, in this order."""
        self._columns = {name: column[rows] for name, column in self._columns.items()}
        self.rows = len(rows)

    def state(self) -> dict[str, Array]:
        """The columns, by name."""
        return dict(self._columns)

    def load(self, state: dict[str, Array]) -> None:
        """Take over what `state` gave."""
        self._columns = {
            name: np.array(state[name], dtype=dtype) for name, (dtype, _width, _fill) in self._kinds.items()
        }
        self.rows = len(next(iter(self._columns.values())))

    @property
    def nbytes(self) -> int:
        """Memory of all columns."""
        return sum(column.nbytes for column in self._columns.values())

    def _new(self, name: str, rows: int) -> Array:
        dtype, width, fill = self._kinds[name]
        return np.full((rows, width) if width else rows, fill, dtype=dtype)
