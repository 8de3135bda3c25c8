"""How tools, models and agents do, from windows: now, before, over time, and how measurements are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.compare import Value
from dashboard.queries import View
from dashboard.signals import SIGNALS, Shown
from dashboard.source import source

FloatArray = NDArray[np.float64]

NAMES: Final = ("provider", "model", "agent", "tool")
_BUCKET: Final = 1.04
CHANGES: Final = 300
"""Most changes in a table."""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the fleet. What is "" is not narrowed."""

    provider: str = ""
    model: str = ""
    agent: str = ""
    tool: str = ""

    def values(self) -> dict[str, str]:
        """Values for the placeholders of a query."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def words(self) -> str:
        """For people."""
        return " / ".join(filter(None, self.values().values())) or "(not named)"


@dataclass(frozen=True, slots=True)
class Health:
    """One part of the fleet and its signals."""

    place: Place
    signals: dict[str, Value]

    def value(self, signal: str) -> Value:
        """The signal, or nothing of it."""
        return self.signals.get(signal) or Value(SIGNALS[signal], math.nan, math.nan, 0.0, 0.0)

    @property
    def worse(self) -> int:
        """How many signals are clearly worse than before."""
        return sum(value.worse for value in self.signals.values())


@dataclass(frozen=True, slots=True)
class Course:
    """A signal over the time range. `data` has begin, time (the middle), end, value, trials."""

    shown: Shown
    data: pd.DataFrame
    low: float
    """Nine of ten steps before the time range were between `low` and `high`; NaN where there were too few."""
    high: float
    usual: float
    """The value of all that time together; NaN where there was nothing."""


def health(view: View, by: Sequence[str], signals: Sequence[str]) -> list[Health]:
    """The parts of the fleet that differ in the dimensions `by` (of NAMES), the worst first, then the busiest."""
    found = source().frame("health", {**_range(view), **_by(by), "agent": view.agent, "signals": list(signals)})
    if found.empty:
        return []
    minutes = view.minutes
    first = min(pd.to_datetime(found["first_seen"], utc=True).min(), pd.Timestamp(view.since))
    minutes_before = (view.since - first) / pd.Timedelta(minutes=1)
    parts: dict[Place, dict[str, Value]] = {}
    for row in found.to_dict("records"):
        shown = SIGNALS[row["signal"]]
        now = values(shown, np.array([[row["trials"], row["totals"]]]), minutes)[0]
        before = values(shown, np.array([[row["trials_before"], row["totals_before"]]]), minutes_before)[0]
        told = Value(shown, float(now), float(before), row["trials"], row["trials_before"])
        parts.setdefault(Place(**{name: row[name] for name in NAMES}), {})[row["signal"]] = told
    every = [Health(place, told) for place, told in parts.items()]
    present = [one for one in every if any(value.n for value in one.signals.values())]
    return sorted(present, key=lambda one: (-one.worse, -max(v.n for v in one.signals.values()), one.place.words))


def names(view: View, dimension: str) -> list[str]:
    """Providers, models or tools that were called in the time range."""
    values = {**view.values(), "width_s": view.width_s, "dimension": dimension}
    found = source().frame("window_names", values)
    return [] if found.empty else list(found["name"])


def histogram(view: View, by: Sequence[str], signals: Sequence[str], place: Place | None = None) -> pd.DataFrame:
    """Measurements by part of the fleet, signal and bucket: value (the middle), now, before."""
    where = {**(place or Place()).values()}
    where["agent"] = where["agent"] or view.agent
    found = source().frame("histogram", {**_range(view), **_by(by), **where, "signals": list(signals)})
    return found if found.empty else found.assign(value=_BUCKET ** (found["place"] - 0.5))


def quantiles(spread: pd.DataFrame, by: Sequence[str], shares: Sequence[float]) -> dict[tuple[str, ...], list[float]]:
    """By names in the dimensions `by`, then signal: what so large shares of the measurements now stay below."""
    told: dict[tuple[str, ...], list[float]] = {}
    if spread.empty:
        return told
    for names, group in spread.groupby([*by, "signal"], sort=False):
        counts = group["now"].to_numpy(np.float64).cumsum()
        if counts[-1] > 0:
            at = np.searchsorted(counts, np.array(shares) * counts[-1])
            told[tuple(str(name) for name in names)] = (
                group["value"].to_numpy(np.float64)[np.minimum(at, len(counts) - 1)].tolist()
            )
    return told


def courses(view: View, place: Place, signals: Sequence[str]) -> list[Course]:
    """These signals of a part of the fleet over time, with what was usual before; without those that say nothing."""
    step_s = max(int(view.step.total_seconds()), view.width_s)
    where = place.values()
    where["agent"] = where["agent"] or view.agent
    found = source().frame("signals_over_time", {**_range(view), **where, "signals": list(signals), "step": step_s})
    if found.empty:
        return []
    found = found.assign(at=pd.to_datetime(found["at"], utc=True).astype("datetime64[s, UTC]"))
    by_signal = dict(tuple(found.groupby("signal")))
    drawn = [_course(view, SIGNALS[name], by_signal[name], step_s) for name in signals if name in by_signal]
    return [course for course in drawn if not course.data.empty]


def changes(view: View, *, agent: str = "", about: str = "", rows: int = CHANGES) -> pd.DataFrame:
    """What changed in the time range and the hour before it, the newest first."""
    times = {"since": view.since - pd.Timedelta(hours=1), "until": view.until}
    return source().frame("changes", {**times, "agent": agent or view.agent, "about": about, "rows": rows})


def values(shown: Shown, sums: FloatArray, minutes: float) -> FloatArray:
    """By row of (trials, totals), of so many minutes: what the signal was."""
    trials, totals = sums[:, 0], sums[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        match shown.form:
            case "hits":
                return np.where(trials > 0, totals / trials, math.nan)
            case "level":
                return np.where(trials > 0, np.exp(totals / trials), math.nan)
            case "amount":
                return totals / minutes
            case _:
                return trials / minutes


def _course(view: View, shown: Shown, found: pd.DataFrame, step_s: int) -> Course:
    step, since = pd.Timedelta(seconds=step_s), pd.Timestamp(view.since).floor(f"{step_s}s")
    minutes = step_s / 60
    sums = found[["trials", "totals"]].to_numpy(np.float64)
    data = pd.DataFrame(
        {
            "begin": found["at"],
            "time": found["at"] + step / 2,
            "end": found["at"] + step,
            "value": values(shown, sums, minutes),
            "trials": found["trials"],
        }
    ).reset_index(drop=True)
    earlier = (data["begin"] < since).to_numpy()
    before = data["value"][earlier]
    low, high = (float(before.quantile(share)) if earlier.sum() >= 10 else math.nan for share in (0.05, 0.95))
    usual = math.nan
    if earlier.any():
        usual = float(values(shown, sums[earlier].sum(axis=0, keepdims=True), minutes * earlier.sum())[0])
    return Course(shown, data[~earlier].reset_index(drop=True), low, high, usual)


def _range(view: View) -> dict[str, object]:
    return {"since": view.since, "until": view.until, "before": view.before, "width_s": view.width_s}


def _by(by: Sequence[str]) -> dict[str, bool]:
    return {f"by_{name}": name in by for name in NAMES}
