"""Distinct users by linear counting (Whang, Vander-Zanden, Taylor, "A linear-time probabilistic counting algorithm for
database applications", ACM TODS 15, 1990): every user has one of MARKS marks, and how many marks are set says how many
users there were. A thousand users are off by 1%, ten thousand by 2%; beyond MOST it is a lower limit.

Points of `run_traffic` carry the marks of their runs in the columns `bucket` and `bucket_count`, as others carry the
log buckets of measurements, so that they merge in any order as those do.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.windows.keys import Column
from detectors.windows.registry import hashes

MARKS: Final = 4096
"""As an index is an int16, and as many bytes as a minute of one agent may take six of at most."""
MOST: Final = 25_000
"""Users from which on nearly all marks are set."""

_BITS: Final = np.uint64(12)

Rows = npt.NDArray[np.int64]


def marks_of(tenants: Column, users: Column) -> Rows:
    """The mark of each run's user, -1 where it does not say whose it is."""
    mixed = hashes([tenants, users])
    marks = (mixed >> (np.uint64(64) - _BITS)).astype(np.int64)
    return np.where(users.of != users.number(""), marks, -1)


def distinct(marks: int) -> float:
    """How many users set so many marks."""
    return float(min(MARKS * np.log(MARKS / (MARKS - min(marks, MARKS - 1))), MOST))


def union(bits: npt.NDArray[np.uint8]) -> int:
    """Marks that are set in any of these rows of bits (see `numpy.packbits`)."""
    rows: npt.NDArray[Any] = np.bitwise_or.reduce(bits.reshape(-1, bits.shape[-1]), axis=0)
    return int(np.unpackbits(rows).sum())
