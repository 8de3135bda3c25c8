"""Histograms in logarithmic buckets: they merge by adding up, and give any quantile with a bounded relative error.

The bucket index of DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): bucket i holds the values in (BASE^(i-1), BASE^i]. Its value is taken to be
2 BASE^i / (BASE + 1), which is off by at most RELATIVE_ERROR for every value in it. Indices are int16, which holds
every positive double; buckets are never collapsed, since a factor of a million is only 352 of them.

A column of histograms is two list columns of the same lengths: ascending bucket indices, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Buckets = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

BASE: Final = 1.04
RELATIVE_ERROR: Final = (BASE - 1) / (BASE + 1)
_LOG_BASE: Final = float(np.log(BASE))
_INT16: Final = np.iinfo(np.int16)
_SPAN: Final = 1 << 16
_MOST: Final = np.iinfo(np.uint32).max

BUCKET_TYPE: Final = pa.list_(pa.int16())
COUNT_TYPE: Final = pa.list_(pa.uint32())


def bucket_of(values: Floats) -> Buckets:
    """The bucket of each value; values must be positive and finite."""
    index = np.ceil(np.log(values) / _LOG_BASE - 1e-9)
    return np.clip(index, _INT16.min, _INT16.max).astype(np.int16)


def value_of(bucket: npt.NDArray[np.integer]) -> Floats:
    """The value that stands for all values of each bucket."""
    values: Floats = np.exp(bucket.astype(np.float64) * _LOG_BASE) * (2 / (BASE + 1))
    return values


def gathered(group: Rows, bucket: Buckets, count: Rows, groups: int) -> tuple[pa.ListArray, pa.ListArray]:
    """Histograms of `groups` groups from single buckets: the one of group g adds up the counts where `group` is g."""
    key = group * _SPAN + (bucket.astype(np.int64) - _INT16.min)
    keys, inverse = np.unique(key, return_inverse=True)
    counts = np.bincount(inverse, weights=count, minlength=len(keys))
    owner, index = np.divmod(keys, _SPAN)
    offsets = pa.array(np.searchsorted(owner, np.arange(groups + 1)).astype(np.int32))
    buckets = pa.array((index + _INT16.min).astype(np.int16))
    return (
        pa.ListArray.from_arrays(offsets, buckets, type=BUCKET_TYPE),
        pa.ListArray.from_arrays(offsets, pa.array(np.minimum(counts, _MOST).astype(np.uint32)), type=COUNT_TYPE),
    )


def merged(group: Rows, bucket: pa.ListArray, count: pa.ListArray, groups: int) -> tuple[pa.ListArray, pa.ListArray]:
    """Histograms of `groups` groups, each the sum of the histograms whose `group` is its number."""
    owner = np.repeat(group, _lengths(bucket))
    return gathered(owner, _flat(bucket).astype(np.int16), _flat(count).astype(np.int64), groups)


def quantiles(bucket: pa.ListArray, count: pa.ListArray, shares: Sequence[float]) -> Floats:
    """Quantiles of each histogram, shape (histograms, shares); NaN where it is empty.

    The quantile q is the value of the bucket that holds the measurement of rank ceil(q n), at least the first.
    """
    lengths = _lengths(bucket)
    result = np.full((len(lengths), len(shares)), np.nan)
    full = np.flatnonzero(lengths)
    if not len(full):
        return result
    values = value_of(_flat(bucket))
    # Counts are below 2^53 in all, so that the running sum is exact.
    running = np.cumsum(_flat(count).astype(np.float64))
    ends = np.cumsum(lengths)[full]
    starts = ends - lengths[full]
    before = np.where(starts > 0, running[starts - 1], 0.0)
    total = running[ends - 1] - before
    for number, share in enumerate(shares):
        rank = np.maximum(np.ceil(share * total - 1e-9), 1.0)
        at = np.searchsorted(running, before + rank)
        result[full, number] = values[np.clip(at, starts, ends - 1)]
    return result


def _lengths(lists: pa.ListArray) -> Rows:
    offsets = lists.offsets.to_numpy().astype(np.int64)
    lengths: Rows = np.diff(offsets)
    return lengths


def _flat(lists: pa.ListArray) -> npt.NDArray[np.integer]:
    """All elements, in order: of a sliced column, too."""
    elements: npt.NDArray[np.integer] = lists.flatten().to_numpy(zero_copy_only=False)
    return elements
