"""Which keys are kept apart: so many at most, first come, first served, and given up when unseen for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from detectors.windows.keys import Column
from dimwatch.clock import NS_PER_SECOND

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_UNSEEN_NS: Final = 8 * 24 * 3600 * NS_PER_SECOND
"""Longer than a week, so that what happens once a week keeps its place."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)

STATE: Final = pa.schema([("key", pa.uint64()), ("seen_ns", pa.int64())])


def hashes(columns: Sequence[Column]) -> Hashes:
    """One number for each row, the same for the same strings in whatever table."""
    mixed = np.zeros(len(columns[0].of), dtype=np.uint64)
    for column in columns:
        of_value = [xxhash.xxh3_64_intdigest(value.encode()) for value in column.values.to_pylist()]
        mixed = (mixed ^ np.array(of_value, dtype=np.uint64)[column.of]) * _PRIME
        mixed ^= mixed >> _SHIFT
    return mixed


class Registry:
    """At most `most` keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: Hashes = np.zeros(0, dtype=np.uint64)
        self._seen: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def admit(self, keys: Hashes, seen_ns: Rows) -> Mask | None:
        """By key: is it kept apart? Keys come in any order and as often as they like. Those of several windows may come
        at once, `seen_ns` by key, as long as there is room for all of them: else nothing is done, and they must come
        window by window."""
        distinct, inverse = np.unique(keys, return_inverse=True)
        last = np.zeros(len(distinct), dtype=np.int64)
        np.maximum.at(last, inverse, seen_ns)
        at = np.searchsorted(self._keys, distinct)
        known = np.zeros(len(distinct), dtype=np.bool_)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == distinct[inside]
        new, new_last = distinct[~known], last[~known]
        full = len(self._keys) + len(new) > self._most
        if full and seen_ns.min() != seen_ns.max():
            return None
        self._seen[at[known]] = np.maximum(self._seen[at[known]], last[known])
        if len(new):
            if full:
                lasting = self._seen > seen_ns[0] - _UNSEEN_NS
                self._keys, self._seen = self._keys[lasting], self._seen[lasting]
            room = max(self._most - len(self._keys), 0)
            merged = np.concatenate([self._keys, new[:room]])
            order = np.argsort(merged)
            self._keys = merged[order]
            self._seen = np.concatenate([self._seen, new_last[:room]])[order]
            known |= np.isin(distinct, new[:room])
        admitted: Mask = known[inverse]
        return admitted

    def snapshot(self) -> pa.Table:
        """Its keys."""
        return pa.Table.from_arrays([pa.array(self._keys), pa.array(self._seen)], schema=STATE)

    def restore(self, state: pa.Table) -> None:
        """Take up a snapshot."""
        self._keys, self._seen = state["key"].to_numpy().copy(), state["seen_ns"].to_numpy().copy()
