"""Rows of open traces in the columns that they came in; those of a trace are taken out when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

GONE: Final = -1
_COMPACT_BELOW: Final = 0.25
_SHARE_IN_PLACE: Final = 0.2
"""Rows that are a larger share of their chunk are pointed at instead of being copied out of it."""


@dataclass(slots=True)
class Whole:
    """A table that chunks, of several assemblers, are slices of: it takes memory until the last of them is gone."""

    rows: int
    left: int
    """Rows that chunks hold or will hold."""

    @classmethod
    def of(cls, table: pa.Table) -> Whole:
        """All of a table."""
        return cls(table.num_rows, table.num_rows)

    @property
    def sparse(self) -> bool:
        """Whether what is left is better copied out of it."""
        return self.left < _COMPACT_BELOW * self.rows


@dataclass(slots=True)
class Chunk:
    """Rows as they came with one record, with the slot of each; `GONE` where the row has been taken."""

    table: pa.Table
    slots: Slots
    left: int
    bytes: int
    record: int
    whole: Whole

    @classmethod
    def of(cls, table: pa.Table, slots: Slots, record: int, whole: Whole | None = None) -> Chunk:
        """A new one. `whole`: what `table` is a slice of, None where that is nothing but itself."""
        whole = whole or Whole.of(table)
        left = int((slots != GONE).sum())
        whole.left -= len(slots) - left
        return cls(table, slots, left, table.nbytes, record, whole)

    def take(self, due: Mask) -> tuple[pa.Table, Slots, Slots] | None:
        """Remove the rows whose slot is due: a table, which of its rows they are, and their slots."""
        rows = np.flatnonzero(due[self.slots] & (self.slots != GONE))
        if not len(rows):
            return None
        slots, table = self.slots[rows], self.table
        self.slots[rows] = GONE
        if len(rows) < _SHARE_IN_PLACE * table.num_rows:
            table, rows = table.take(pa.array(rows)), np.arange(len(rows))
        self.left -= len(rows)
        self.whole.left -= len(rows)
        return table, rows, slots

    def compact(self) -> None:
        """Copy what is left out of a table of which most is gone."""
        if self.left and self.whole.sparse:
            kept = np.flatnonzero(self.slots != GONE)
            self.table, self.slots = self.table.take(pa.array(kept)), self.slots[kept]
            self.bytes = self.table.nbytes
            self.whole.left -= self.left
            self.whole = Whole(self.left, self.left)


def copied(chunks: Iterable[Chunk], wanted: Mask, before: int) -> Iterator[pa.Table]:
    """The rows of wanted slots that came before record `before`, chunk by chunk."""
    for chunk in chunks:
        if chunk.record < before:
            rows = np.flatnonzero((chunk.slots != GONE) & wanted[chunk.slots])
            if len(rows):
                yield chunk.table.take(pa.array(rows))


def taken(chunks: Iterable[Chunk], due: Mask) -> tuple[pa.Table | None, Slots, Slots]:
    """Remove the rows of due slots from all chunks: a table, which of its rows they are, and their slots."""
    parts = [part for chunk in chunks if (part := chunk.take(due)) is not None]
    if not parts:
        return None, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    tables = [table for table, _, _ in parts]
    offsets = np.cumsum([0, *(table.num_rows for table in tables[:-1])])
    rows = np.concatenate([rows + offset for (_, rows, _), offset in zip(parts, offsets, strict=True)])
    return pa.concat_tables(tables), rows, np.concatenate([slots for _, _, slots in parts])
