"""Record time in steps of one second, so that what is found does not depend on how records were batched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from dimwatch.clock import NS_PER_SECOND

TICK_NS: Final = NS_PER_SECOND

_T = TypeVar("_T")


@dataclass(slots=True)
class TickClock:
    """The tick that is being filled; it ends when something of a later tick comes, or when nobody fills it."""

    current: int = 0

    @property
    def end_ns(self) -> int:
        """Record time at which the current tick ends."""
        return (self.current + 1) * TICK_NS

    def moves(self, now_ns: int) -> bool:
        """Go on to the tick of `now_ns`; False if that is not later than the current one."""
        tick = now_ns // TICK_NS
        if tick <= self.current:
            return False
        self.current = tick
        return True


def by_tick(items: Iterable[_T], time_ns: Callable[[_T], int]) -> Iterator[tuple[int, Sequence[_T]]]:
    """Cut items, in the order in which they are, into runs of one tick. Time that goes back stays in the run."""
    run: list[_T] = []
    tick: int | None = None
    for item in items:
        own = time_ns(item) // TICK_NS
        if tick is not None and own > tick:
            yield tick, run
            run = []
        tick = own if tick is None else max(tick, own)
        run.append(item)
    if tick is not None:
        yield tick, run
