"""How far a partition has been judged, in record time: it goes forward, and back where a clock was set back."""

from __future__ import annotations

from typing import Final

from dimwatch.clock import NS_PER_SECOND

PATIENCE_NS: Final = 600 * NS_PER_SECOND
"""Records that are up to that much older than others before them are late; beyond that, a clock was wrong."""
MOMENT_NS: Final = 10 * NS_PER_SECOND
"""For so long records must say so."""


class Watermark:
    """The record time up to which everything that was over has been judged.

    A clock that is wrong by hours for a minute (of the machine, or of a collector) would move it hours ahead, and
    nobody would judge minutes again until real time has caught up. So it goes back when, for a moment, all that is
    read is far behind it, and it is ahead of this machine's clock: old records alone (a collector that sends what it
    had to keep back) are no reason.
    """

    def __init__(self, at_ns: int = 0) -> None:
        self.at_ns = at_ns
        self._clock_ns = 0
        self._clock_went_back = False
        self._behind_since_ns: int | None = None
        self._behind_ns = 0

    def tell(self, judged_ns: int, clock_ns: int, *, read: bool) -> bool:
        """Everything was judged that was over at `judged_ns`; whether the watermark went back by that.

        `clock_ns` is this machine's clock. `read`: records say so, and not this clock alone, which may be the wrong
        one.
        """
        self._clock_went_back |= clock_ns < self._clock_ns - PATIENCE_NS
        self._clock_ns = clock_ns
        far = judged_ns < self.at_ns - PATIENCE_NS and clock_ns < self.at_ns - PATIENCE_NS
        if not far:
            self.at_ns = max(self.at_ns, judged_ns)
            self._behind_since_ns, self._clock_went_back = None, False
        elif read or self._clock_went_back:
            if self._behind_since_ns is None or clock_ns < self._behind_since_ns:
                self._behind_since_ns, self._behind_ns = clock_ns, judged_ns
            self._behind_ns = max(self._behind_ns, judged_ns)
            if clock_ns - self._behind_since_ns >= MOMENT_NS:
                self.at_ns, self._behind_since_ns, self._clock_went_back = self._behind_ns, None, False
                return True
        return False
