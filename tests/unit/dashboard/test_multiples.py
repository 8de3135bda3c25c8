"""Small charts as the browser's Vega gets them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from dashboard import multiples
from dashboard.health import Course
from dashboard.signals import SIGNALS
from tests.unit.dashboard.drawing import svg

UNTIL = datetime(2026, 5, 4, 12, tzinfo=UTC)
NOTHING = pd.DataFrame(columns=["time", "label"])


def told(since: datetime, band: float = math.nan, value: float = 0.2) -> Course:
    step = (UNTIL - since) / 60
    begin = pd.date_range(since, UNTIL, freq=step, inclusive="left")
    data = pd.DataFrame({"begin": begin, "time": begin + step / 2, "end": begin + step, "value": value, "trials": 5.0})
    return Course(SIGNALS["tool_error"], data.drop(index=[7, 8]), band, band, band)


@pytest.mark.parametrize("band", [math.nan, 0.1], ids=["nothing known of before", "with a band"])
def test_time_runs_over_the_range_whatever_is_drawn(band: float) -> None:
    since = UNTIL - timedelta(hours=1)
    drawn = svg(multiples.course(told(since, band), NOTHING, since, UNTIL))
    ticks = [60 * int(hours) + int(minutes) for hours, minutes in re.findall(r">(\d\d):(\d\d)</text>", drawn)]
    assert (ticks[-1] - ticks[0]) % (24 * 60) == 60
    assert "failing tool calls" in drawn
    assert f"last 20.0 %, usually {'unknown' if math.isnan(band) else '10.0 %'}" in drawn


def test_another_time_range_differs_in_data_only() -> None:
    """The browser then keeps the chart."""
    one, other = (
        multiples.course(told(since, 0.1, value), NOTHING, since, UNTIL)
        for since, value in ((UNTIL - timedelta(hours=1), 0.2), (UNTIL - timedelta(hours=6), 0.5))
    )
    assert not one.pop("datasets")["points"].equals(other.pop("datasets")["points"])
    assert one == other


def test_measurements_are_drawn_as_they_are_spread() -> None:
    found = pd.DataFrame({"value": [0.1, 0.2, 0.4], "now": [1, 5, 1], "before": [3, 1, 0]})
    drawn = svg(multiples.spread(found, SIGNALS["tool_latency"]))
    assert "duration of a tool call, s" in drawn
    assert set(re.findall(r">(now|before)</text>", drawn)) == {"now", "before"}
