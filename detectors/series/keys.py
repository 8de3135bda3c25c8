"""From the columns of POINT to numbers: a vocabulary for each dimension, and ids for their combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.alerts import DIMENSIONS
from detectors.series.arrays import IntArray

LIMIT: Final = 1 << 16
"""Values of one dimension; the last stands for all that came too late."""
_OTHER: Final = "other"
_ODD: Final = np.random.default_rng(0).integers(1, 1 << 62, 1024, dtype=np.int64) * 2 + 1


class Vocabulary:
    """The values of each dimension seen so far; code 0 is the empty value."""

    def __init__(self) -> None:
        self.values: list[list[str]] = [[""] for _ in DIMENSIONS]

    def codes(self, table: pa.Table) -> IntArray:
        """The codes of all rows, shape (rows, dimensions). What is new is learned, in the order of its text."""
        codes = np.empty((table.num_rows, len(DIMENSIONS)), dtype=np.int64)
        for position, name in enumerate(DIMENSIONS):
            codes[:, position] = self._column(table.column(name).combine_chunks(), self.values[position])
        return codes

    def text(self, codes: Sequence[int]) -> dict[str, str]:
        """The named values of one row of codes, empty ones left out."""
        return {
            name: self.values[position][code]
            for position, (name, code) in enumerate(zip(DIMENSIONS, codes, strict=True))
            if code
        }

    def find(self, values: Mapping[str, str]) -> IntArray | None:
        """Undo `text`; None if a value is not known."""
        known = [values.get(name, "") for name in DIMENSIONS]
        if any(value not in of for value, of in zip(known, self.values, strict=True)):
            return None
        return np.array([of.index(value) for value, of in zip(known, self.values, strict=True)], dtype=np.int64)

    def _column(self, column: pa.Array, values: list[str]) -> IntArray:
        encoded = column.dictionary_encode()
        here = pc.index_in(encoded.dictionary, value_set=pa.array(values, pa.string()))
        if here.null_count:
            new = sorted(encoded.dictionary.filter(pc.is_null(here)).to_pylist())
            room = max(0, LIMIT - 1 - len(values))
            values.extend(new[:room])
            if room < len(new) and len(values) < LIMIT:
                values.append(_OTHER)
            here = pc.fill_null(pc.index_in(encoded.dictionary, value_set=pa.array(values, pa.string())), LIMIT - 1)
        lookup: IntArray = here.to_numpy(zero_copy_only=False).astype(np.int64)
        chosen: IntArray = lookup[encoded.indices.to_numpy(zero_copy_only=False)]
        return chosen


class Ids:
    """Rows of whole numbers (each below 65,536) numbered in the order in which they came to be known."""

    def __init__(self, width: int) -> None:
        self.rows: IntArray = np.empty((0, width), dtype=np.int64)
        self._salt = 0
        self._sorted: IntArray = np.empty(0, dtype=np.int64)
        self._order: IntArray = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, rows: IntArray) -> IntArray:
        """The id of each row, -1 where it is not known."""
        if not len(self._sorted) or not len(rows):
            return np.full(len(rows), -1, dtype=np.int64)
        keys = _hash(rows, self._salt)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._order[place], -1)

    def add(self, rows: IntArray) -> IntArray:
        """The id of each row; unknown ones are numbered in the order of their values, whatever order they come in."""
        found = self.find(rows)
        if (found >= 0).all():
            return found
        new = np.unique(rows[found < 0], axis=0)
        self.load(np.concatenate([self.rows, new]))
        return self.find(rows)

    def load(self, rows: IntArray) -> None:
        """Take over the rows of another, in the order of their ids."""
        self.rows = np.ascontiguousarray(rows, dtype=np.int64)
        while True:
            keys = _hash(self.rows, self._salt)
            self._order = np.argsort(keys, kind="stable")
            self._sorted = keys[self._order]
            if (self._sorted[1:] != self._sorted[:-1]).all():
                return
            self._salt += 1


def _hash(rows: IntArray, salt: int) -> IntArray:
    """One number a row: a sum of products with fixed odd numbers, wrapping around. Known rows never share one (the salt
    sees to it); that an unknown one of 50,000 hits a known one has a chance of one in 10^10.
    """
    width = rows.shape[1]
    odd = _ODD[salt * width : (salt + 1) * width]
    return rows @ odd
