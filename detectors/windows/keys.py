"""String columns as numbers, and rows grouped by several of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import all_the_same

Rows = npt.NDArray[np.int64]

_MOST: Final = 1 << 62
_DENSE: Final = 4
"""Keys of at most this many times the number of rows are counted in place instead of being sorted."""


class Column(NamedTuple):
    """Strings as numbers: row i holds `values[of[i]]`. The values are distinct; `ordered` puts them in order."""

    of: Rows
    values: pa.Array

    def at(self, rows: Rows) -> Column:
        """The same column at `rows`."""
        return Column(self.of[rows], self.values)

    def array(self, rows: Rows) -> pa.Array:
        """The strings at `rows`."""
        return self.values.take(pa.array(self.of[rows]))

    def number(self, value: str) -> int:
        """The number of a value, -1 if there is none."""
        return int(self.values.index(value).as_py())

    def renamed(self, values: pa.Array) -> Column:
        """The same with another name for each of its values, not all of them different."""
        return column(values).at(self.of)

    def ordered(self) -> Column:
        """The same with its values in the order of their bytes."""
        order = pc.sort_indices(self.values)
        rank = np.empty(len(self.values), dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(self.values))
        return Column(rank[self.of], self.values.take(order))


class Groups(NamedTuple):
    """`of[i]` is the number of the group of row i; `first[g]` is the first row of group g. Groups are numbered in the
    order of their keys' numbers, the first column counting most."""

    of: Rows
    first: Rows


def column(strings: pa.Array | pa.ChunkedArray) -> Column:
    """Number the strings; null is ""."""
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
    if all_the_same(strings):
        return Column(np.zeros(len(strings), dtype=np.int64), strings[:1])
    if strings.null_count:
        strings = pc.fill_null(strings, "")
    encoded = strings.dictionary_encode()
    return Column(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary)


def constant(value: str, count: int) -> Column:
    """The same string `count` times."""
    return Column(np.zeros(count, dtype=np.int64), pa.array([value]))


def either(first: Column, second: Column) -> Column:
    """`first`, and `second` where that is ""."""
    unsaid = first.of == first.number("")
    if not unsaid.any():
        return first
    both = column(pa.concat_arrays([first.values, second.values]))
    return both.at(np.where(unsaid, len(first.values) + second.of, first.of))


def stacked(columns: Sequence[Column]) -> Column:
    """Columns one below the other. Values of different columns are not told to be the same, unless they are one
    array."""
    if all(column.values is columns[0].values for column in columns):
        return Column(np.concatenate([column.of for column in columns]), columns[0].values)
    starts = np.cumsum([0, *(len(column.values) for column in columns)])
    of = [column.of + start for column, start in zip(columns, starts.tolist(), strict=False)]
    return Column(np.concatenate(of), pa.concat_arrays([column.values for column in columns]))


def grouped(strings: Iterable[Column], *numbers: Rows) -> Groups:
    """The groups of rows that are equal in all columns, of strings first, then of integers: at least one. They are in
    the order of the columns' numbers."""
    parts = [(part.of, max(len(part.values), 1)) for part in strings] + [_codes(part) for part in numbers]
    key, size = parts[0]
    for of, count in parts[1:]:
        if size * count >= _MOST:
            key, size = _codes(key)
        key, size = key * count + of, size * count
    if size > _DENSE * len(key):
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return Groups(inverse.astype(np.int64), first.astype(np.int64))
    row = np.full(size, -1, dtype=np.int64)
    row[key[::-1]] = np.arange(len(key))[::-1]
    present = row >= 0
    return Groups((np.cumsum(present) - 1)[key], row[present])


def _codes(values: Rows) -> tuple[Rows, int]:
    """Integers as numbers from 0 in the same order, and how many numbers there may be."""
    if len(values):
        least = int(values.min())
        if (size := int(values.max()) - least + 1) <= _DENSE * len(values):
            return values - least, size
    distinct, inverse = np.unique(values, return_inverse=True)
    return inverse.astype(np.int64), max(len(distinct), 1)


def arrays(columns: Mapping[str, Column], rows: Rows) -> dict[str, pa.Array]:
    """The strings of several columns at `rows`."""
    return {name: strings.array(rows) for name, strings in columns.items()}
