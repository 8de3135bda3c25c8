"""Finds rows for many rows at once: a trace may have ten thousand failures, and a loop would compare each with each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows


def groups_of(owner: Rows, texts: pa.Array) -> Rows:
    """One number for each distinct pair of owner and text (null is a text of its own)."""
    encoded = pc.fill_null(texts, "").dictionary_encode()
    codes: Rows = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return owner * np.int64(len(encoded.dictionary) + 1) + codes


def next_in_group(group: Rows, wanted: Mask) -> Rows:
    """For each element the next one of the same group that is `wanted`, NONE if there is none after it."""
    count = len(group)
    if not count:
        return group
    order = np.argsort(group, kind="stable")
    at_or_after = np.minimum.accumulate(np.where(wanted[order], np.arange(count), count)[::-1])[::-1]
    following = np.append(at_or_after[1:], count)
    known = np.minimum(following, count - 1)
    right = (following < count) & (group[order[known]] == group[order])
    result = np.full(count, NONE, dtype=np.int64)
    result[order] = np.where(right, order[known], NONE)
    return result


def members(group: Rows, *, least: int = 1) -> Iterator[tuple[int, Rows]]:
    """Each group of at least `least` elements, with their positions in order."""
    order = np.argsort(group, kind="stable")
    values, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    big = counts >= least
    for value, start, size in zip(values[big].tolist(), starts[big].tolist(), counts[big].tolist(), strict=True):
        yield value, order[start : start + size]


def first_row_from(owner: Rows, rows: Rows, of: Rows, least: Rows) -> Rows:
    """For each element of `of` the first of `rows` whose owner it is and that is not below its `least`; NONE if there
    is none. Owners and rows are row numbers; an owner of NONE owns nothing."""
    owned = owner != NONE
    found = np.full(len(of), NONE, dtype=np.int64)
    if not owned.any():
        return found
    owner, rows = owner[owned], rows[owned]
    order = np.lexsort((rows, owner))
    size = np.int64(max(int(rows.max()), int(least.max(initial=0))) + 1)
    keys = owner[order] * size + rows[order]
    at = np.minimum(np.searchsorted(keys, of * size + least), len(keys) - 1)
    right = (of != NONE) & (owner[order[at]] == of) & (rows[order[at]] >= least)
    found[right] = rows[order[at[right]]]
    return found
