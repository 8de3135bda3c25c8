"""Rows grouped by several columns at once, in the order of their values, whatever order the rows come in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]

_MOST: Final = 1 << 62


class Groups(NamedTuple):
    """`of[i]` is the number of the group of row i; `first[g]` is the first row of group g. Groups are numbered in the
    order of their keys, the first column counting most."""

    of: Rows
    first: Rows


class Codes(NamedTuple):
    """A column as numbers from 0 to `size` - 1, ordered as its values are."""

    of: Rows
    size: int


def codes(column: pa.Array | pa.ChunkedArray | Rows) -> Codes:
    """Number the distinct values of a column: of strings by their bytes, of integers by size. No nulls."""
    if isinstance(column, np.ndarray):
        values, inverse = np.unique(column, return_inverse=True)
        return Codes(inverse.astype(np.int64), len(values))
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    size = len(column.dictionary)
    rank = np.empty(size, dtype=np.int64)
    rank[pc.sort_indices(column.dictionary).to_numpy()] = np.arange(size)
    return Codes(rank[column.indices.to_numpy(zero_copy_only=False)], size)


def grouped(columns: Iterable[Codes]) -> Groups:
    """The groups of rows that are equal in all columns, at least one."""
    key: Rows | None = None
    size = 1
    for column in columns:
        if key is None:
            key, size = column.of, column.size
            continue
        if size * max(column.size, 1) >= _MOST:
            values, key = np.unique(key, return_inverse=True)
            size = len(values)
        key, size = key * column.size + column.of, size * max(column.size, 1)
    assert key is not None, "nothing to group by"
    _, first, of = np.unique(key, return_index=True, return_inverse=True)
    return Groups(of.astype(np.int64), first.astype(np.int64))
