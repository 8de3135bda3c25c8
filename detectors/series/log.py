"""What each cell did in the last hours, for the search of causes: minutes while they are young, then blocks."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.arrays import FloatArray, IntArray, add_up
from detectors.series.clockwork import BLOCK

_FRESH: Final = 2 * BLOCK
"""Minutes that are kept one by one."""


class Log:
    """Rows (cell, values) of minutes; bounded by time, and by cells and blocks beyond the freshest minutes."""

    def __init__(self, keep: int) -> None:
        """`keep`: minutes after which an entry is forgotten."""
        self._keep = keep
        self._entries: list[tuple[int, NDArray[np.int32], NDArray[np.float32]]] = []

    def add(self, minute: int, weight: FloatArray, columns: list[FloatArray]) -> None:
        """Columns of one value for each cell; those of no weight are left out."""
        cells = np.flatnonzero(weight)
        values = np.empty((len(cells), len(columns)), dtype=np.float32)
        for position, column in enumerate(columns):
            values[:, position] = column[cells]
        self._entries.append((minute, cells.astype(np.int32), values))
        block = minute - minute % BLOCK - _FRESH
        old = [entry for entry in self._entries if block <= entry[0] < block + BLOCK]
        if len(old) > 1 and minute % BLOCK == BLOCK - 1:
            known, summed = _sum(old)
            self._entries = [
                (block, known.astype(np.int32), summed.astype(np.float32)),
                *(entry for entry in self._entries if entry[0] >= block + BLOCK or entry[0] < block),
            ]
            self._entries.sort(key=lambda entry: entry[0])
        self._entries = [entry for entry in self._entries if entry[0] > minute - self._keep - BLOCK]

    def since(self, minute: int) -> tuple[IntArray, FloatArray]:
        """The cells seen since then, ascending, and the sums of their values."""
        entries = [entry for entry in self._entries if entry[0] >= minute]
        # An entry that was folded into a block belongs to it when the block begins less than a block before.
        entries += [entry for entry in self._entries if minute - BLOCK < entry[0] < minute and self._folded(entry[0])]
        return _sum(entries)

    def recent(self, cells: IntArray, first: int, step: int, steps: int) -> tuple[FloatArray, FloatArray]:
        """Sums of the first three columns over these cells, shape (steps, 3), in so many steps of `step` minutes from
        `first` on; and the most that any of the cells has of the first column: how many minutes there are, where it
        counts minutes. Steps of a minute are exact for the newest 20, those of a block for all."""
        sums, most = np.zeros((steps, 3)), np.zeros(steps)
        for minute, own, values in self._entries:
            place = (minute - first) // step
            chosen = values[np.isin(own, cells), :3].astype(np.float64)
            if 0 <= place < steps and len(chosen):
                sums[place] += chosen.sum(axis=0)
                most[place] += chosen[:, 0].max()
        return sums, most

    def take(self, cells: IntArray) -> None:
        """Keep these cells only (ascending), numbered anew in this order."""
        kept = []
        for minute, own, values in self._entries:
            place = np.searchsorted(cells, own)
            stays = np.isin(own, cells)
            kept.append((minute, place[stays].astype(np.int32), values[stays]))
        self._entries = kept

    @property
    def nbytes(self) -> int:
        """Memory of all entries."""
        return sum(cells.nbytes + values.nbytes for _, cells, values in self._entries)

    def state(self) -> dict[str, Any]:
        """All entries as arrays."""
        return {f"{minute:012d}": {"cells": cells, "values": values} for minute, cells, values in self._entries}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._entries = [(int(minute), of["cells"], of["values"]) for minute, of in sorted(state.items())]

    def _folded(self, minute: int) -> bool:
        newest = self._entries[-1][0]
        return minute % BLOCK == 0 and minute < (newest + 1) // BLOCK * BLOCK - _FRESH


def _sum(
    entries: list[tuple[int, NDArray[np.int32], NDArray[np.float32]]],
) -> tuple[IntArray, FloatArray]:
    if not entries:
        return np.empty(0, dtype=np.int64), np.empty((0, 0))
    cells, place = np.unique(np.concatenate([entry[1] for entry in entries]), return_inverse=True)
    values = np.concatenate([entry[2] for entry in entries]).astype(np.float64)
    summed = np.stack([add_up(place, values[:, column], len(cells)) for column in range(values.shape[1])], axis=1)
    return cells.astype(np.int64), summed
