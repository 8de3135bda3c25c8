"""Histograms merge by adding up, and their quantiles are as near as they promise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.windows.histogram import (
    BASE,
    RELATIVE_ERROR,
    Histograms,
    bucket_of,
    gathered,
    merged,
    quantiles,
    value_of,
)

SHARES = (0.0, 0.25, 0.5, 0.95, 1.0)
MEASUREMENTS = st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=60)


def histogram(*columns: list[float]) -> Histograms:
    """One histogram a list."""
    values = np.array([value for column in columns for value in column])
    group = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    return gathered(group, bucket_of(np.log(values)), None, len(columns))


def test_the_smallest_and_the_largest_doubles_have_buckets() -> None:
    values = np.array([5e-324, 1e-300, 1.0, 1e300, 1.7e308])
    bucket = bucket_of(np.log(values))
    assert ((bucket >= np.iinfo(np.int16).min) & (bucket <= np.iinfo(np.int16).max)).all()
    assert (np.diff(bucket) > 0).all()


def test_a_value_lies_in_its_bucket() -> None:
    values = BASE ** np.arange(-300, 300)
    assert bucket_of(np.log(values)).tolist() == list(range(-300, 300)), "a power of the base ends its bucket"
    assert bucket_of(np.log(values * 1.0001)).tolist() == list(range(-299, 301))


@settings(deadline=None)
@given(st.floats(1e-300, 1e300))
def test_a_bucket_stands_for_its_values(value: float) -> None:
    (shown,) = value_of(bucket_of(np.log(np.array([value]))))
    assert abs(shown - value) <= (RELATIVE_ERROR + 1e-9) * value


@settings(deadline=None)
@given(st.lists(MEASUREMENTS, min_size=1, max_size=5))
def test_quantiles_are_those_of_the_measurements(columns: list[list[float]]) -> None:
    found = quantiles(histogram(*columns), SHARES)
    for column, row in zip(columns, found, strict=True):
        exact = [sorted(column)[max(int(np.ceil(share * len(column) - 1e-9)), 1) - 1] for share in SHARES]
        assert row == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-6)


@settings(deadline=None)
@given(st.lists(MEASUREMENTS, min_size=1, max_size=5))
def test_a_merged_histogram_is_that_of_all_measurements(columns: list[list[float]]) -> None:
    apart = histogram(*columns)
    together = merged(np.zeros(len(columns), dtype=np.int64), apart, 1)
    assert together == histogram([value for column in columns for value in column])


def test_an_empty_histogram_has_no_quantiles() -> None:
    histograms = gathered(np.array([1, 1]), np.array([3, 3]), np.array([2, 5]), 3)
    assert histograms.count.to_pylist() == [[], [7], []]
    found = quantiles(histograms, (0.5,))
    assert np.isnan(found[[0, 2]]).all()
    assert found[1, 0] == value_of(np.array([3]))[0]
    assert quantiles(Histograms(histograms.bucket.slice(1), histograms.count.slice(1)), (0.5,))[0, 0] == found[1, 0]


def test_more_measurements_than_a_counter_holds_are_as_many_as_it_holds() -> None:
    most = np.iinfo(np.uint32).max
    histograms = gathered(np.zeros(2, dtype=np.int64), np.array([3, 3]), np.array([most, most]), 1)
    assert histograms.count == pa.array([[most]], pa.list_(pa.uint32()))
