"""The only place that reads a clock; everything else is handed one, so that a replay is exact."""

from __future__ import annotations

import time
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
