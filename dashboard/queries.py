"""What the pages ask. Each function binds its values to a file in `sql/`; times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pandas as pd

from dashboard.source import source
from dimwatch.clock import NS_PER_SECOND

FINDINGS: Final = 300
"""Most findings in the table."""


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

    @classmethod
    def of(cls, chosen: str, now_ns: int, agent: str = "") -> View:
        """The range of that key, up to now."""
        span = RANGES[chosen]
        until = datetime.fromtimestamp(now_ns / NS_PER_SECOND, UTC)
        return cls(until - span.length, until, span.step, agent)

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return (self.until - self.since) / timedelta(minutes=1)

    def values(self, **more: object) -> dict[str, object]:
        """Values for the placeholders of a query."""
        return {"since": self.since, "until": self.until, "agent": self.agent, **more}


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


def models(view: View) -> pd.DataFrame:
    """Model calls by provider and model."""
    return source().frame("models", view.values())


def tools(view: View) -> pd.DataFrame:
    """Tools by failures and empty results."""
    return source().frame("tools", view.values())


def drops(view: View) -> pd.DataFrame:
    """What was dropped, by reason."""
    return source().frame("drops", view.values())


def coverage(view: View) -> pd.DataFrame:
    """What the telemetry of each service carries."""
    return source().frame("coverage", view.values())


def agent_names(view: View) -> list[str]:
    """Agents that ran in the range."""
    found = source().frame("agent_names", view.values())
    return [] if found.empty else list(found["agent"])


def any_telemetry() -> bool:
    """Whether the store holds any span at all."""
    return bool(source().frame("freshness", {})["spans"].iloc[0])


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


def weather(view: View) -> pd.DataFrame:
    """Providers' models in the range and in the one just before it, from windows."""
    length = view.until - view.since
    width_s = 60 if length <= timedelta(hours=24) else 3600
    return source().frame("weather", view.values(before=view.since - length, width_s=width_s))
