"""Which errors of ClickHouse pass by themselves, and which are about the statement or the data."""

from __future__ import annotations

from typing import Final

from dimwatch.errors import PermanentError, RetryableError

BUSY: Final = frozenset({202, 209, 210, 439})
"""The statement has not run: too many at once, or the network."""

_RETRYABLE: Final = BUSY | {
    3, 76, 86, 95, 96, 107, 108, 159, 160, 198, 201, 203, 225, 236, 241, 242, 243, 252, 279, 285, 286, 290, 306, 319,
    335, 364, 394, 415, 425, 473, 499, 516, 999, 1000, 1001, 1002,
}  # fmt: skip
"""Those, and what waiting or an operator mends: time-outs, too many parts, memory, disk, read-only tables, Keeper,
wrong passwords, failures of the operating system."""


def error_of(code: int, message: str) -> RetryableError | PermanentError:
    """The error to raise for what ClickHouse answered."""
    if code in _RETRYABLE:
        return RetryableError(f"the store can not do this now: {message}")
    return PermanentError(f"the store refuses this: {message}")
