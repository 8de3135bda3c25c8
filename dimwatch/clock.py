"""The only place that reads a clock; everything else is handed one, so that a replay is exact."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_SECOND = 1_000_000_000


class Clock(Protocol):
    """A source of wall-clock time."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()  # noqa: TID251 - this is the one place


class ManualClock:
    """A clock that moves only when told to: for replays and tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move forward to `now_ns`; an earlier time is ignored, a clock never goes back."""
        self._now_ns = max(self._now_ns, now_ns)


def rfc3339(ns: int, digits: int = 0) -> str:
    """A time, nanoseconds since the Unix epoch, as text in UTC; cut to so many digits of a second, 9 at most."""
    seconds, rest = divmod(ns, NS_PER_SECOND)
    fraction = f".{rest:09d}"[: digits + 1] if digits else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
