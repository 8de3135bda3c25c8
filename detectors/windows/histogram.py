"""Histograms in logarithmic buckets: they merge by adding up, and give any quantile with a bounded relative error.

The bucket index of DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): bucket i holds the values in (BASE^(i-1), BASE^i]. Its value is taken to be
2 BASE^i / (BASE + 1), which is off by at most RELATIVE_ERROR for every value in it. Indices are int16, which holds
every positive double; buckets are never collapsed, since a factor of a million is only 352 of them.

A column of histograms is two list columns of the same lengths: ascending bucket indices, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

BASE: Final = 1.04
RELATIVE_ERROR: Final = (BASE - 1) / (BASE + 1)
_LOG_BASE: Final = float(np.log(BASE))
_TINY: Final = 1e-9
"""Of a bucket: what rounding may lift a value that is a power of the base."""
_LEAST: Final = np.iinfo(np.int16).min
_WIDTH: Final = 1 << 16
_MOST: Final = np.iinfo(np.uint32).max
_DENSE: Final = 4
"""Counters of at most this many times the number of elements are used instead of sorting."""

BUCKET_TYPE: Final = pa.list_(pa.int16())
COUNT_TYPE: Final = pa.list_(pa.uint32())


class Histograms(NamedTuple):
    """A column of histograms."""

    bucket: pa.ListArray
    count: pa.ListArray


def bucket_of(logs: Floats) -> Rows:
    """The buckets of values of which these are the natural logarithms."""
    return np.ceil(logs / _LOG_BASE - _TINY).astype(np.int64)


def value_of(bucket: npt.NDArray[np.integer[Any]]) -> Floats:
    """The value that stands for all values of each bucket."""
    values: Floats = np.exp(bucket.astype(np.float64) * _LOG_BASE) * (2 / (BASE + 1))
    return values


def gathered(group: Rows, bucket: Rows, count: Rows | None, groups: int) -> Histograms:
    """Histograms of `groups` groups from single buckets: that of group g adds up the counts (None: one each) where
    `group` is g."""
    least, width = (int(bucket.min()), int(np.ptp(bucket)) + 1) if len(bucket) else (_LEAST, _WIDTH)
    key = group * width + (bucket - least)
    if groups * width <= _DENSE * len(key):
        counts = np.bincount(key, weights=count, minlength=groups * width)
        keys = np.flatnonzero(counts)
        counts = counts[keys]
    else:
        keys, inverse = np.unique(key, return_inverse=True)
        counts = np.bincount(inverse, weights=count, minlength=len(keys))
    owner, index = np.divmod(keys, width)
    offsets = pa.array(np.searchsorted(owner, np.arange(groups + 1)).astype(np.int32))
    buckets = pa.array((index + least).astype(np.int16))
    clipped = pa.array(np.minimum(counts, _MOST).astype(np.uint32))
    return Histograms(
        pa.ListArray.from_arrays(offsets, buckets, type=BUCKET_TYPE),
        pa.ListArray.from_arrays(offsets, clipped, type=COUNT_TYPE),
    )


def merged(group: Rows, histograms: Histograms, groups: int) -> Histograms:
    """Histograms of `groups` groups, each the sum of the histograms whose `group` is its number."""
    owner = np.repeat(group, _lengths(histograms.bucket))
    return gathered(owner, _flat(histograms.bucket), _flat(histograms.count), groups)


def quantiles(histograms: Histograms, shares: Sequence[float]) -> Floats:
    """Quantiles of each histogram, shape (histograms, shares); NaN where it is empty.

    The quantile q is the value of the bucket that holds the measurement of rank ceil(q n), at least the first.
    """
    lengths = _lengths(histograms.bucket)
    result = np.full((len(lengths), len(shares)), np.nan)
    full = np.flatnonzero(lengths)
    if not len(full):
        return result
    values = value_of(_flat(histograms.bucket))
    running = np.cumsum(_flat(histograms.count))
    ends = np.cumsum(lengths)[full]
    starts = ends - lengths[full]
    before = np.where(starts > 0, running[starts - 1], 0)
    total = running[ends - 1] - before
    for number, share in enumerate(shares):
        rank = np.maximum(np.ceil(share * total - _TINY), 1).astype(np.int64)
        at = np.searchsorted(running, before + rank)
        result[full, number] = values[np.clip(at, starts, ends - 1)]
    return result


def _lengths(lists: pa.ListArray) -> Rows:
    lengths: Rows = np.diff(lists.offsets.to_numpy().astype(np.int64))
    return lengths


def _flat(lists: pa.ListArray) -> Rows:
    """All elements, in order: of a sliced column, too."""
    elements: Rows = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return elements
