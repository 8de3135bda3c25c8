"""How far each source has judged, and how far all of them have: what a minute waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from dimwatch.clock import NS_PER_SECOND

PATIENCE_NS: Final = 600 * NS_PER_SECOND
"""A source that is this far behind the foremost one is waited for so long, and on while it catches up. One that leaps
ahead by more is in doubt."""
_CATCHES_UP: Final = 2
"""So many times as fast as time passes a source must judge what it is behind with, to be waited for."""
_OF_A_BACKLOG: Final = 20
"""What the foremost judges of a backlog counts as so many times less time: one that reads it ten times slower is still
waited for."""
DOUBT_NS: Final = 60 * NS_PER_SECOND
"""A worker that has leapt ahead must go on for so long before it is believed: its clock may be set back at once."""


class Marks:
    """The watermarks of sources, each by kind of message. The same words of a source, in order, give the same."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], int] = {}
        self._doubts: dict[tuple[str, str], tuple[int, int]] = {}
        """Of sources that have leapt ahead: where to, and how far they have come since."""
        self._passed_ns = 0
        """The time that has passed, as sources tell that are at the ends of their logs, where it is the clock's. As
        long as all work off a backlog, it is reckoned from that."""
        self._waited: dict[tuple[str, str], tuple[int, int]] = {}
        """When and where sources were last known to keep up or to catch up: for `PATIENCE_NS` of that time they are
        waited for, however far they are behind."""
        self._sources = 0
        """How many there are, as they say; 0 as long as they do not."""
        self._since_ns = 0
        """Where the foremost was when as many were expected for the first time."""
        self.leapt = False
        """Whether a leap was believed since somebody set this to false."""

    @property
    def foremost_ns(self) -> int | None:
        """The mark of the source that is furthest."""
        return max(self._at.values(), default=None)

    @property
    def watermark_ns(self) -> int | None:
        """The record time up to which every source has judged; None as long as one that there is has not spoken, and
        is not given up. Sources that are far behind and do not catch up do not count."""
        foremost = self.foremost_ns
        if foremost is None:
            return None
        if len(self._names()) < self._sources and foremost <= self._since_ns + PATIENCE_NS:
            return None
        return min(mark for key, mark in self._at.items() if mark > foremost - PATIENCE_NS or self._is_waited_for(key))

    def tell(self, source: str, kind: str, mark_ns: int, sources: int = 0, *, behind: bool = False) -> None:
        """A source has judged what was over at `mark_ns`. It goes back only by more than the patience: anything less it
        has said before a restart. `sources`: how many there are, as workers say, who tell every few seconds; 0 for
        recordings, whose time may leap. `behind`: it still reads records that have long been in its log."""
        if mark_ns <= 0:
            return
        key = source, kind
        foremost, known = self.foremost_ns, self._at.get(key)
        if sources and foremost is not None and mark_ns > foremost + PATIENCE_NS:
            first, _ = self._doubts.get(key, (mark_ns, 0))
            first = min(first, mark_ns)
            self._doubts[key] = first, mark_ns
            if mark_ns - first >= DOUBT_NS:
                self._believe(first)
        else:
            self._doubts.pop(key, None)
            back = known is not None and mark_ns < known - PATIENCE_NS
            self._at[key] = mark_ns if known is None or back else max(known, mark_ns)
            if back or not sources:
                self._waited.pop(key, None)
            else:
                passed = 0 if foremost is None else max(0, mark_ns - foremost)
                self._passed_ns += passed // (_OF_A_BACKLOG if behind else 1)
                self._wait_for(key)
        self._expect(sources)

    @property
    def waits(self) -> bool:
        """Whether it waits for sources that are far behind."""
        return any(self._is_waited_for(key) for key in self._far_behind())

    def give_up(self) -> None:
        """Wait no more for sources that are far behind, until they are back with the others."""
        for key in self._far_behind():
            self._waited.pop(key, None)

    def _far_behind(self) -> list[tuple[str, str]]:
        foremost = self.foremost_ns or 0
        return [key for key, mark in self._at.items() if mark <= foremost - PATIENCE_NS]

    def _wait_for(self, key: tuple[str, str]) -> None:
        """It has said something, and is with the others, or has come on fast enough since the last time."""
        mark, foremost = self._at[key], self.foremost_ns or 0
        _, then = self._waited.get(key, (0, 0))
        caught_up = self._is_waited_for(key) and mark - then >= _CATCHES_UP * PATIENCE_NS
        if caught_up or mark > foremost - PATIENCE_NS:
            self._waited[key] = self._passed_ns, mark

    def _is_waited_for(self, key: tuple[str, str]) -> bool:
        return key in self._waited and self._passed_ns - self._waited[key][0] < PATIENCE_NS

    def clear(self) -> None:
        """Others tell from here on: whoever has told before is not waited for."""
        self._at.clear()
        self._doubts.clear()
        self._waited.clear()
        self._sources = 0

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "at": [[*key, mark] for key, mark in sorted(self._at.items())],
            "doubts": [[*key, *doubt] for key, doubt in sorted(self._doubts.items())],
            "passed": self._passed_ns,
            "waited": [[*key, *since] for key, since in sorted(self._waited.items())],
            "sources": self._sources,
            "since": self._since_ns,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        self._at = {(source, kind): mark for source, kind, mark in state["at"]}
        self._doubts = {(source, kind): (first, last) for source, kind, first, last in state["doubts"]}
        self._passed_ns = state.get("passed", 0)  # the version before did not wait
        self._waited = {(source, kind): (since, mark) for source, kind, since, mark in state.get("waited", ())}
        self._sources, self._since_ns = state["sources"], state["since"]

    def _believe(self, leap_ns: int) -> None:
        """One that leapt has gone on: those that have leapt with it are where they say, too."""
        for key, (first, last) in list(self._doubts.items()):
            if abs(first - leap_ns) <= PATIENCE_NS:
                self._at[key] = last
                del self._doubts[key]
        self.leapt = True

    def _expect(self, sources: int) -> None:
        """Wait for so many. If there are more, the hindmost are of another time: partitions had other names or numbers
        then."""
        if not sources:
            return
        if sources != self._sources:
            self._sources, self._since_ns = sources, self.foremost_ns or 0
        names = self._names()
        if len(names) > sources:
            hindmost = min(names, key=lambda name: (max(self._of(name)), name))
            self._at = {key: mark for key, mark in self._at.items() if key[0] != hindmost}
            self._waited = {key: since for key, since in self._waited.items() if key[0] != hindmost}

    def _names(self) -> set[str]:
        return {source for source, _ in self._at}

    def _of(self, name: str) -> Iterable[int]:
        return (mark for (source, _), mark in self._at.items() if source == name)
