"""Charts as the browser's Vega gets them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import vl_convert

from dashboard import charts
from dashboard.health import Course
from dashboard.signals import SIGNALS

UNTIL = datetime(2026, 5, 4, 12, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=1)


@pytest.mark.parametrize("band", [math.nan, 0.1], ids=["nothing known of before", "with a band"])
def test_time_runs_over_the_range_whatever_is_drawn(band: float) -> None:
    """In a form that needs no reading: the browser's Vega takes `datetime(1777892400000)` for a year."""
    begin = pd.date_range(SINCE, UNTIL, freq="60s", inclusive="left")
    step = pd.Timedelta(seconds=60)
    data = pd.DataFrame({"begin": begin, "time": begin + step / 2, "end": begin + step, "value": 0.2, "trials": 5.0})
    told = Course(SIGNALS["tool_error"], data, band, band, math.nan)
    chart = charts.course(told, pd.DataFrame(columns=["time", "label"]), SINCE, UNTIL)
    scales = vl_convert.vegalite_to_vega(chart.to_dict())["scales"]
    (x,) = [scale for scale in scales if scale["name"] == "x"]
    ends = [int(moment.timestamp() * 1000) for moment in (SINCE, UNTIL)]
    assert x["domain"] == {"signal": str(ends)}
