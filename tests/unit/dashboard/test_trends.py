"""The wide charts as the browser's Vega gets them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from dashboard import trends
from dashboard.queries import CLASSES
from dashboard.spending import OTHERS
from tests.unit.dashboard.drawing import svg

UNTIL = datetime(2026, 5, 4, 12, tzinfo=UTC)


def bars(drawn: str) -> list[str]:
    """Colours of the bars that are seen, in the order of the data."""
    return re.findall(r'aria-roledescription="rect mark"[^>]*fill="(#\w+)" opacity="0.9"', drawn)


def legend(drawn: str) -> list[str]:
    """What the legend names, in its order."""
    return re.findall(r">([a-z][a-z -]+)</text>", drawn)


def counts(since: datetime, traces: int = 6) -> pd.DataFrame:
    times = pd.date_range(since, UNTIL, freq=(UNTIL - since) / 60, inclusive="left")
    return pd.DataFrame([{"time": time, "class": name, "traces": traces} for name in CLASSES for time in times])


def spent(since: datetime, agents: Sequence[str]) -> pd.DataFrame:
    """Each agent spends twice as much as the next, at the last quarter of the time range."""
    time = UNTIL - (UNTIL - since) / 4
    rows = [
        {"time": time, "end": UNTIL, "agent": name, "rate": 2.0**-place, "spent_usd": 1.0}
        for place, name in enumerate(agents)
    ]
    return pd.DataFrame(rows)


def drawn_by(name: str, since: datetime) -> dict[str, Any]:
    if name == "shares":
        return trends.shares(counts(since), since, UNTIL)
    if name == "volume":
        return trends.volume(counts(since), (UNTIL - since) / 60, since, UNTIL)
    agents = ("booking", "support") if UNTIL - since > timedelta(hours=1) else ("support", "booking", "search")
    return trends.spend(spent(since, agents), since, UNTIL)


@pytest.mark.parametrize("name", ["shares", "volume", "spend"])
def test_another_time_range_differs_in_data_only(name: str) -> None:
    """The browser then keeps the chart."""
    one, other = (drawn_by(name, UNTIL - timedelta(hours=hours)) for hours in (1, 6))
    assert not one.pop("datasets")["points"].equals(other.pop("datasets")["points"])
    assert one == other


@pytest.mark.parametrize("name", ["shares", "volume", "spend"])
def test_time_runs_over_the_range_wherever_the_data_are(name: str) -> None:
    ticks = re.findall(r">(\d\d:\d\d)</text>", svg(drawn_by(name, UNTIL - timedelta(hours=6))))
    hours = [int(tick[:2]) + int(tick[3:]) / 60 for tick in ticks]
    assert (hours[-1] - hours[0]) % 24 == 6


def test_a_range_without_a_trace_is_drawn() -> None:
    since = UNTIL - timedelta(hours=1)
    none = counts(since, traces=0)
    assert not bars(svg(trends.volume(none, timedelta(minutes=1), since, UNTIL)))
    assert "green but failed" in svg(trends.shares(none, since, UNTIL))


def test_agents_are_named_from_the_largest_on_and_the_others_last() -> None:
    since = UNTIL - timedelta(hours=1)
    drawn = svg(trends.spend(spent(since, (OTHERS, "support", "booking")), since, UNTIL))
    assert legend(drawn) == ["support", "booking", OTHERS]
    assert bars(drawn) == ["#6c8fd6", "#5fa8a0", "#c7a14a"]
