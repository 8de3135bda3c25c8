"""How often somebody may ask: a token bucket each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from dimwatch.clock import NS_PER_SECOND, Clock

_MOST: Final = 1_000
"""People whose pace is remembered; whoever has not asked for longest is forgotten first."""


class Pace:
    """So many a minute by name, all of them at once if one likes. Safe to share between threads."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._most = float(per_minute)
        self._per_ns = per_minute / (60 * NS_PER_SECOND)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, name: str) -> float:
        """Take one; 0 if there was one, else the seconds until there is."""
        now_ns = self._clock.now_ns()
        with self._lock:
            left, at_ns = self._left.pop(name, (self._most, now_ns))
            left = min(self._most, left + max(now_ns - at_ns, 0) * self._per_ns)
            taken = left >= 1
            self._left[name] = (left - taken, now_ns)
            if len(self._left) > _MOST:
                self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_ns / NS_PER_SECOND
