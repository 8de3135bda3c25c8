"""A picture of a signal in one line of text: it needs no upload, no public address, and no viewer but a font."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Final

from detectors.incidents.summary import clock
from dimwatch.clock import NS_PER_SECOND

_BARS: Final = "▁▂▃▄▅▆▇█"
_NOTHING: Final = "·"
_ONSET: Final = "│"
_MOST: Final = 60
"""Steps; of more, the newest."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """How a signal ran."""

    bars: str
    """One character a step, from zero to the most; a line where the incident begins."""
    top: float
    usual: float
    """By the baseline, of late."""
    usual_bar: str
    start_ns: int
    step_s: int

    def legend(self, written: Callable[[float], str]) -> str:
        """What the bars mean; `written` gives a value with its unit."""
        return (
            f"since {clock(self.start_ns)} UTC, a bar is {self.step_s / 60:g} min: "
            f"{_BARS[-1]} is {written(self.top)}, usual is {self.usual_bar} {written(self.usual)}"
        )


def sparkline(recent: Mapping[str, Any], onset_ns: int) -> Sparkline | None:
    """The picture of what an incident's signal says of itself (`detectors.incidents.incident.Recent`), None where there
    is nothing to draw or it is of a kind that is not known here."""
    try:
        start_ns = round(datetime.fromisoformat(recent["start"]).timestamp()) * NS_PER_SECOND
        step_s = int(recent["step_s"])
        observed, expected = _values(recent["observed"]), _values(recent["expected"])
    except (KeyError, TypeError, ValueError):
        return None
    start_ns += max(len(observed) - _MOST, 0) * step_s * NS_PER_SECOND
    observed, expected = observed[-_MOST:], expected[-_MOST:]
    known = [value for value in expected if value is not None]
    top = max((value for value in (*observed, *known) if value is not None), default=0.0)
    if not known or top <= 0 or step_s <= 0:
        return None
    bars = [_NOTHING if value is None else _bar(value, top) for value in observed]
    begins = (onset_ns - start_ns) // (step_s * NS_PER_SECOND)
    if 0 < begins < len(bars):
        bars.insert(begins, _ONSET)
    return Sparkline("".join(bars), top, known[-1], _bar(known[-1], top), start_ns, step_s)


def _values(told: Sequence[Any]) -> list[float | None]:
    numbers = [None if value is None else float(value) for value in told]
    return [value if value is not None and isfinite(value) else None for value in numbers]


def _bar(value: float, top: float) -> str:
    return _BARS[min(int(max(value, 0.0) / top * len(_BARS)), len(_BARS) - 1)]
