"""How a role is told to stop: by a flag that the handlers of SIGTERM and SIGINT set.

No `threading.Event`: a handler runs on the main thread, between two of its instructions, and `set()` waits for ever
when those are in `wait()` or in another `set()` and hold the event's lock.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Final, Self

_SLICE_S: Final = 0.1
"""A sleep goes on after a handler has run; so late the flag is seen."""


class Stop:
    """Whether somebody asked for the end. Safe to share between threads."""

    def __init__(self) -> None:
        """Nobody did yet."""
        self.requested = False
        self.signalled = False
        """Whether a signal asked, and not only its own process."""

    @classmethod
    def by_signals(cls) -> Self:
        """One that SIGTERM and SIGINT request from now on, or have requested of the one before. For the main thread."""
        stop = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = getattr(signal.signal(number, stop._hear), "__self__", None)
            if isinstance(before, Stop) and before.signalled:
                stop._hear()
        return stop

    def _hear(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self.signalled = True
        self.request()

    def request(self) -> None:
        """Ask for the end."""
        self.requested = True

    def sleep(self, seconds: float) -> bool:
        """Sleep, or less when the end is requested; whether it is."""
        until = time.monotonic() + seconds
        while not self.requested and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, _SLICE_S))
        return self.requested
