"""What the incident page asks: one incident, its signals over time, whom it hits, and traces that show it."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.queries import View
from dashboard.signals import SIGNALS, Shown, shown
from dashboard.source import source

FloatArray = NDArray[np.float64]

SCOPE: Final = ("provider", "model", "agent", "tool", "release", "region")
LISTED: Final = 50
"""Most incidents on the page Now."""
EXAMPLES: Final = 8
_OPEN: Final = ("open", "acknowledged", "silenced")
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("provider", "model", "agent", "release", "region"),
    "tool": ("tool", "agent", "release", "region"),
    "run": ("agent", "release", "region"),
}
"""What names the series of each subject."""
_STEPS_S: Final = (60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600, 24 * 3600)
_MOST_STEPS: Final = 300
_ENOUGH: Final = 8.0
"""Trials in a step, as far as there can be so many: fewer make a jagged line."""
_MINUTES_KEPT: Final = pd.Timedelta(days=29)
"""Windows of a minute are kept for 30 days, those of an hour for longer."""
_LEAST_STEPS: Final = 10
"""Fewer before the onset make no band."""
_BEFORE: Final = pd.Timedelta(hours=3)
_AFTER: Final = pd.Timedelta(minutes=30)
_GAP: Final = pd.Timedelta(minutes=10)
"""Onsets are estimates: what is so short before one may be part of it."""
_LONGEST: Final = pd.Timedelta(hours=2)
_SHORTEST: Final = pd.Timedelta(minutes=10)
_SEARCHED: Final = 2_000
"""Examples are looked for among about so many calls or runs, from a time between these two."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A signal of an incident: what it was since the onset, and what it would be."""

    signal: str
    observed: float
    expected: float
    evidence: float
    since: pd.Timestamp
    n: float
    direct: bool

    @property
    def shown(self) -> Shown:
        """How it is shown."""
        return shown(self.signal)


@dataclass(frozen=True, slots=True)
class Incident:
    """A row of `incidents`, read. Times are UTC."""

    id: str
    tenant: str
    kind: str
    severity: str
    status: str
    scope: Mapping[str, str]
    opened: pd.Timestamp
    started: pd.Timestamp
    resolved: pd.Timestamp | None
    measures: tuple[Measure, ...]
    causes: tuple[Mapping[str, object], ...]
    runs: float
    cost_usd: float
    summary: str

    @classmethod
    def of(cls, row: Mapping[Hashable, Any]) -> Incident:
        """Read a row."""
        resolved = row["resolved_at"]
        return cls(
            id=str(row["id"]),
            tenant=str(row.get("tenant", "")),
            kind=str(row["kind"]),
            severity=str(row["severity"]),
            status=str(row["status"]),
            scope={name: str(row[name]) for name in SCOPE},
            opened=_time(row["opened_at"]),
            started=_time(row["started_at"]),
            resolved=None if pd.isna(resolved) else _time(resolved),
            measures=tuple(_measure(told) for told in json.loads(str(row["signals"]) or "[]")),
            causes=tuple(json.loads(str(row.get("causes") or "[]"))),
            runs=float(row["runs"]),
            cost_usd=float(row["cost_usd"]),
            summary=str(row["summary"]),
        )

    @property
    def open(self) -> bool:
        """Whether it still goes on."""
        return self.status in _OPEN

    @property
    def place(self) -> str:
        """Its scope in words, the widest part first."""
        names = [self.scope[name] for name in SCOPE[:4] if self.scope[name]]
        names += [f"{name} {self.scope[name]}" for name in SCOPE[4:] if self.scope[name]]
        return " / ".join(names) or "whole fleet"

    @property
    def drawable(self) -> tuple[Measure, ...]:
        """Measures that windows can show, the one that stands for the incident first: of those at the cause the first
        in order of cause."""
        order = {signal: place for place, signal in enumerate(SIGNALS)}
        known = [measure for measure in self.measures if measure.signal in order]
        lead = min(known, key=lambda m: (not m.direct, order[m.signal]), default=None)
        return tuple(sorted(known, key=lambda m: m is not lead))

    @property
    def evidence(self) -> float | None:
        """Of the measure that stands for it, or else the strongest; None where nothing was measured."""
        return max((m.evidence for m in self.drawable[:1] or self.measures), default=None)

    def until(self, now: pd.Timestamp) -> pd.Timestamp:
        """When it ended, or now."""
        return self.resolved or max(now, self.opened)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A signal over time. `data` has begin, time (the middle), end, value, trials; no row for steps without data."""

    data: pd.DataFrame
    shown: Shown
    since: pd.Timestamp
    until: pd.Timestamp
    low: float
    """Nine of ten steps before the onset were between `low` and `high`; NaN where there were too few."""
    high: float
    usual: float
    """The value of all that time together; NaN where there was nothing."""


def incidents(view: View) -> list[Incident]:
    """Incidents that are not over, worst first, then those that ended in the range."""
    found = source().frame("incidents", view.values(rows=LISTED))
    return [] if found.empty else [Incident.of(row) for row in found.to_dict("records")]


def watched(view: View) -> tuple[int, pd.Timestamp | None]:
    """How many series were seen in the last day, and since when there are windows at all."""
    row = source().frame("watched", {"since": view.until - pd.Timedelta(days=1), "until": view.until}).iloc[0]
    return int(row["series"]), _time(row["first_seen"]) if row["series"] else None


def incident(incident_id: str) -> Incident | None:
    """One incident, or None if the store does not know it."""
    found = source().frame("incident", {"id": incident_id})
    return None if found.empty else Incident.of(found.to_dict("records")[0])


def agents(about: Incident, now: pd.Timestamp) -> pd.DataFrame:
    """Agents that work within its scope, by runs while it went on."""
    since, until = about.started, about.until(now)
    values = {"since": since, "until": until, "before": since - _BEFORE, "width_s": _width(about, now)}
    return source().frame("incident_agents", {**values, "tenant": about.tenant, **about.scope})


def timeline(about: Incident, measure: Measure, names: list[str], now: pd.Timestamp) -> Timeline:
    """The measure's signal before, during and after. `names`: the agents within the incident's scope."""
    drawn = measure.shown.drawn
    how = shown(drawn) if drawn else measure.shown
    since, until = extent(about, now)
    width_s = _width(about, now)
    query = "incident_tail" if drawn else "incident_timeline"
    values = {
        "tenant": about.tenant,
        **_scope(about, how),
        "agents": names,
        "signal": drawn or measure.signal,
        "until": until,
        "width_s": width_s,
    }

    def ask(step_s: int) -> pd.DataFrame:
        return source().frame(query, {**values, "since": since.floor(f"{step_s}s"), "step": step_s})

    # How much a step needs to hold is known when the shortest ones have been seen: an incident's own count may be old.
    shortest_s = step_s = _step(until - since, width_s, math.inf)
    found = ask(step_s)
    if not found.empty:
        step_s = _step(until - since, width_s, found["trials"].sum() / ((until - since) / pd.Timedelta(minutes=1)))
    if step_s != shortest_s:
        found = ask(step_s)
    step = pd.Timedelta(seconds=step_s)
    return _read(found, how, bool(drawn), about.started, since.floor(step), until, step)


def extent(about: Incident, now: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The time that is looked at: some before the onset, and some after the end."""
    return about.started - _BEFORE, min(about.until(now) + _AFTER, max(now, about.until(now)))


def changes(about: Incident, names: list[str], now: pd.Timestamp) -> pd.DataFrame:
    """What changed about these agents in that time."""
    since, until = extent(about, now)
    return source().frame("incident_changes", {"since": since, "until": until, "tenant": about.tenant, "agents": names})


def bad_examples(about: Incident, measure: Measure, names: list[str], now: pd.Timestamp) -> pd.DataFrame:
    """Traces that show the signal at its worst, early in the incident: trace_id, at, who, and value or said."""
    how, since = measure.shown, about.started
    values = _searched(about, how, since, min(about.until(now), since + _length(about, measure, now)))
    if how.rule:
        return source().frame("example_findings", {**values, "rule": how.rule})
    if not how.measure:
        return pd.DataFrame()
    down = how.worse < 0 or (how.worse == 0 and measure.observed < measure.expected)
    target = 1e-9 if down else 1e15
    if how.subject != "run":
        return _calls({**values, "measure": how.measure, "target": target})
    outcomes = {"failed": ["failed"], "degraded": ["degraded", "failed"], "rescued": ["rescued"]}.get(how.measure)
    every = ["ok", "rescued", "degraded", "failed", "incomplete"]
    return source().frame(
        "example_runs",
        {**values, "agents": names, "outcomes": outcomes or every, "measure": how.measure, "target": target},
    )


def good_examples(about: Incident, measure: Measure, names: list[str], now: pd.Timestamp) -> pd.DataFrame:
    """Traces as they were before: those nearest to what is expected, or the last ones."""
    how, until = measure.shown, about.started - _GAP
    values = _searched(about, how, until - _length(about, measure, now), until)
    level = how.form == "level" and measure.expected > 0
    more = {"measure": how.measure if level else "", "target": measure.expected if level else 1.0}
    if how.subject == "run":
        return source().frame("example_runs", {**values, "agents": names, "outcomes": ["ok"], **more})
    return _calls({**values, **more})


def _calls(values: Mapping[str, object]) -> pd.DataFrame:
    """Calls with the agents of their traces: their own spans need not name one."""
    found = source().frame("example_calls", values)
    if found.empty:
        return found
    known = source().frame("trace_agents", {"trace_ids": list(found["trace_id"])})
    names = {} if known.empty else dict(zip(known["trace_id"], known["who"], strict=True))
    return found.assign(who=[names.get(trace_id, "") for trace_id in found["trace_id"]])


def _searched(about: Incident, how: Shown, since: pd.Timestamp, until: pd.Timestamp) -> dict[str, object]:
    kind = {"model": "llm", "tool": "tool"}.get(how.subject, "")
    values = {"since": since, "until": until, "tenant": about.tenant, "kind": kind, "rows": EXAMPLES}
    return values | _scope(about, how)


def _scope(about: Incident, how: Shown) -> dict[str, str]:
    """Its scope, as far as series of that subject have it."""
    return {name: about.scope[name] if name in _COLUMNS[how.subject] else "" for name in SCOPE}


def _per_minute(about: Incident, measure: Measure, now: pd.Timestamp) -> float:
    """Calls, runs or measurements a minute within the incident's scope."""
    return measure.n / max((about.until(now) - measure.since) / pd.Timedelta(minutes=1), 1.0)


def _length(about: Incident, measure: Measure, now: pd.Timestamp) -> pd.Timedelta:
    """How much time holds enough examples."""
    wanted = pd.Timedelta(minutes=_SEARCHED / max(_per_minute(about, measure, now), 1.0))
    return min(max(wanted, _SHORTEST), _LONGEST)


def _read(
    found: pd.DataFrame,
    how: Shown,
    tail: bool,
    started: pd.Timestamp,
    since: pd.Timestamp,
    until: pd.Timestamp,
    step: pd.Timedelta,
) -> Timeline:
    counted = how.form in ("events", "amount")
    if found.empty:
        found = pd.DataFrame({"at": pd.Series(dtype="datetime64[s, UTC]"), "trials": [], "totals": [], "tail": []})
    found = found.assign(at=pd.to_datetime(found["at"], utc=True).astype("datetime64[s, UTC]")).set_index("at")
    if counted:
        # The last step has only begun; a step without a row is one in which nothing happened.
        every = pd.date_range(since, until, freq=step, inclusive="left").astype("datetime64[s, UTC]")
        found = found.reindex(every, fill_value=0.0)[:-1].rename_axis("at")
    data = found.reset_index().rename(columns={"at": "begin"})
    minutes = step / pd.Timedelta(minutes=1)
    values = data["tail"] if tail else _values(how, _sums(data), minutes)
    data = data.assign(value=values, time=data["begin"] + step / 2, end=data["begin"] + step)
    before = data[data["end"] <= started - _GAP]
    low, high, usual = (float(before["value"].quantile(share)) for share in (0.05, 0.95, 0.5))
    if len(before) < _LEAST_STEPS:
        low = high = math.nan
    if not tail and len(before):
        usual = float(_values(how, _sums(before).sum(axis=0, keepdims=True), minutes * len(before))[0])
    data = data[["begin", "time", "end", "value", "trials"]]
    return Timeline(data, how, since, until, low, high, usual)


def _sums(data: pd.DataFrame) -> FloatArray:
    return data[["trials", "totals"]].to_numpy(dtype=np.float64)


def _values(how: Shown, sums: FloatArray, minutes: float) -> FloatArray:
    """By row of (trials, totals), of so many minutes: what the signal was."""
    trials, totals = sums[:, 0], sums[:, 1]
    match how.form:
        case "hits":
            return totals / trials
        case "level":
            return np.exp(totals / trials)
        case "amount":
            return totals / minutes
        case _:
            return trials / minutes


def _step(length: pd.Timedelta, width_s: int, per_minute: float) -> int:
    """The shortest step that makes no jagged line and not too many points."""
    least = max(width_s, length.total_seconds() / _MOST_STEPS)
    wanted = max(least, min(60 * _ENOUGH / max(per_minute, 1e-9), length.total_seconds() / 24))
    return next((step for step in _STEPS_S if step >= wanted), _STEPS_S[-1])


def _width(about: Incident, now: pd.Timestamp) -> int:
    return 60 if about.started > now - _MINUTES_KEPT else 3600


def _measure(told: Mapping[str, object]) -> Measure:
    observed, expected, evidence, n = (
        float(told.get(name) or 0.0)  # type: ignore[arg-type]
        for name in ("observed", "expected", "evidence", "n")
    )
    return Measure(
        str(told["signal"]), observed, expected, evidence, _time(told["since"]), n, bool(told.get("direct", True))
    )


def _time(value: object) -> pd.Timestamp:
    time: pd.Timestamp = pd.to_datetime(value, utc=True)  # type: ignore[call-overload]
    return time
