"""What the pages ask. Each function binds its values to a file in `sql/`; times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pandas as pd

from dashboard.source import source
from dimwatch.clock import NS_PER_SECOND

FINDINGS: Final = 300
"""Most findings in the table."""
WEEK: Final = timedelta(days=7)
LEAST_BEFORE: Final = timedelta(hours=6)
"""What is usual is read from so much time at least: the half-life of the statistics."""


@dataclass(frozen=True, slots=True)
class Range:
    """A time range that a person can choose, and the width of its buckets."""

    length: timedelta
    step: timedelta


RANGES: Final[Mapping[str, Range]] = {
    "15m": Range(timedelta(minutes=15), timedelta(seconds=30)),
    "1h": Range(timedelta(hours=1), timedelta(minutes=1)),
    "6h": Range(timedelta(hours=6), timedelta(minutes=5)),
    "24h": Range(timedelta(hours=24), timedelta(minutes=20)),
    "7d": Range(timedelta(days=7), timedelta(hours=2)),
}


@dataclass(frozen=True, slots=True)
class View:
    """What a person looks at: a time range up to a moment, and an agent or all (empty)."""

    since: datetime
    until: datetime
    step: timedelta
    agent: str = ""
    fixed: bool = False
    """It does not end now, but at a moment of the past."""
    picked: Mapping[str, str] = field(default_factory=dict)
    """Further filters of the page by name; "" is all."""

    @classmethod
    def of(cls, chosen: str, now_ns: int, agent: str = "", until: datetime | None = None) -> View:
        """The range of that key, up to now or to a moment of the past."""
        span = RANGES[chosen]
        ends = min(until or _time(now_ns), _time(now_ns))
        return cls(ends - span.length, ends, span.step, agent, until is not None)

    def moved_to(self, now_ns: int) -> View:
        """As long a range that ends now."""
        return replace(self, since=_time(now_ns) - (self.until - self.since), until=_time(now_ns))

    @property
    def length(self) -> timedelta:
        """From its begin to its end."""
        return self.until - self.since

    @property
    def width_s(self) -> int:
        """Width of the windows that are read: those of a minute, of an hour for long ranges."""
        return 60 if self.length <= timedelta(hours=24) else 3600

    @property
    def before(self) -> datetime:
        """Begin of the time that it is compared with, which ends where it begins."""
        return self.since - max(self.length, LEAST_BEFORE)

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return (self.until - self.since) / timedelta(minutes=1)

    def values(self, **more: object) -> dict[str, object]:
        """Values for the placeholders of a query."""
        return {"since": self.since, "until": self.until, "agent": self.agent, **more}


def _time(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns / NS_PER_SECOND, UTC)


def totals(view: View) -> pd.Series:
    """The figures at the top, with those of the range before."""
    before = view.since - (view.until - view.since)
    row: pd.Series = source().frame("totals", view.values(before=before)).iloc[0]
    return row


def over_time(view: View) -> pd.DataFrame:
    """Traces by class in buckets: time, class, traces. Buckets without a trace are there as zeros."""
    found = source().frame("over_time", view.values(step=int(view.step.total_seconds())))
    floor = pd.Timestamp(view.since).floor(view.step)
    times = pd.date_range(floor, view.until, freq=view.step, inclusive="left").as_unit("s")
    if found.empty:
        counts = pd.DataFrame(index=times)
    else:
        found["time"] = pd.to_datetime(found["time"], utc=True).dt.as_unit("s")
        counts = found.pivot_table(index="time", columns="class", values="traces", aggfunc="sum")
    counts = counts.reindex(index=times, columns=list(CLASSES)).fillna(0)
    return counts.rename_axis("time").reset_index().melt("time", var_name="class", value_name="traces")


CLASSES: Final = ("fine", "rescued", "incomplete", "reported error", "green but failed")
"""What becomes of a trace, calm to alarming."""


def rules(view: View) -> pd.DataFrame:
    """Findings by rule, the last 15 minutes against the hour before."""
    return source().frame("rules", view.values())


def findings(view: View, rule: str = "", severity: str = "") -> pd.DataFrame:
    """The latest findings."""
    return source().frame("findings", view.values(rule=rule, severity=severity, rows=FINDINGS))


def agents(view: View) -> pd.DataFrame:
    """Agents by health."""
    return source().frame("agents", view.values())


def drops(view: View) -> pd.DataFrame:
    """What was dropped, by reason."""
    return source().frame("drops", view.values())


def agent_names(view: View) -> list[str]:
    """Agents that ran in the range."""
    found = source().frame("agent_names", view.values())
    return [] if found.empty else list(found["agent"])


def any_telemetry() -> bool:
    """Whether the store has held any span at all: not asked again once it has."""
    shown = source()
    shown.filled = shown.filled or bool(shown.frame("freshness", {})["spans"].iloc[0])
    return shown.filled


def trace(trace_id: str) -> pd.Series | None:
    """One trace, or None if the store does not know it (yet)."""
    found = source().frame("trace", {"trace_id": trace_id})
    return None if found.empty else found.iloc[0]


def trace_spans(trace_id: str) -> pd.DataFrame:
    """The spans of a trace, in order of time."""
    return source().frame("trace_spans", {"trace_id": trace_id})


def trace_findings(trace_id: str) -> pd.DataFrame:
    """What was found in a trace."""
    return source().frame("trace_findings", {"trace_id": trace_id})


def span(trace_id: str, span_id: str) -> pd.Series | None:
    """One span with its content."""
    found = source().frame("span", {"trace_id": trace_id, "span_id": span_id})
    return None if found.empty else found.iloc[0]


def pages(view: View) -> pd.Series:
    """Of the week until the end of the range: pages, false_pages, delivered, given_up."""
    row: pd.Series = source().frame("pages", {"since": view.until - WEEK, "until": view.until}).iloc[0]
    return row
