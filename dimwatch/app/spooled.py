"""How far record time may go while collectors may still have records of an older time.

While Kafka is away, collectors keep what they receive, and send it when Kafka is back: each its own, beside what comes
newly. A watermark that went on at once would close the minutes that these records belong to.
"""

from __future__ import annotations

from typing import Final

from dimwatch.app.record_time import PATIENCE_NS
from dimwatch.clock import NS_PER_SECOND

QUIET_NS: Final = 10 * NS_PER_SECOND
"""For so long nothing more of that kind must have come. A collector begins within half of it."""
LEAP_NS: Final = 10 * NS_PER_SECOND
"""Record time that is missing: after a shorter outage nobody waits, windows wait for runs that end late anyway."""
_NEVER: Final = 1 << 62


class Spools:
    """What a partition knows of the spools of collectors; with `quiet_ns` 0 there are none."""

    def __init__(self, quiet_ns: int) -> None:
        self._quiet_ns = quiet_ns
        self._leapt_ns: int | None = None
        """When record time was first about to leap, by this machine's clock."""
        self._held_ns: int | None = None
        """Since when it waits for spooled records, by the same."""
        self._began_ns = 0
        self._oldest = self._oldest_before = _NEVER
        """Of spooled records: since `_began_ns`, and in the `_quiet_ns` before."""

    def sent(self, time_ns: int, clock_ns: int) -> None:
        """A record of this time has come from a spool."""
        if clock_ns - time_ns > LEAP_NS:
            self._turn(clock_ns)
            self._oldest = min(self._oldest, time_ns)

    def allow(self, judged_ns: int, at_ns: int, clock_ns: int) -> int:
        """How far a watermark that is at `at_ns` may go towards `judged_ns`: not over a gap, nor over spooled records,
        before it has been quiet. After ten minutes of that it is no more than ten minutes of record time that it waits
        for, which bounds what stays open by it."""
        if not at_ns or judged_ns <= at_ns:
            return judged_ns
        if judged_ns <= at_ns + LEAP_NS:
            self._leapt_ns = None
        else:
            if self._leapt_ns is None or clock_ns < self._leapt_ns:
                self._leapt_ns = clock_ns
            if clock_ns - self._leapt_ns < self._quiet_ns:
                return at_ns
        self._turn(clock_ns)
        oldest = min(self._oldest, self._oldest_before)
        if oldest >= judged_ns:
            self._held_ns = None
            return judged_ns
        if self._held_ns is None or clock_ns < self._held_ns:
            self._held_ns = clock_ns
        if clock_ns - self._held_ns >= PATIENCE_NS:
            oldest = max(oldest, judged_ns - PATIENCE_NS)
        return max(at_ns, oldest)

    def _turn(self, clock_ns: int) -> None:
        """Forget what is no longer news."""
        if not 0 <= clock_ns - self._began_ns < self._quiet_ns:
            recent = 0 <= clock_ns - self._began_ns < 2 * self._quiet_ns
            self._oldest_before = self._oldest if recent else _NEVER
            self._oldest, self._began_ns = _NEVER, clock_ns
