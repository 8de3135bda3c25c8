"""Small multiples: a small chart for each signal, many beside each other, drawn anew every few seconds."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cache
from typing import Any, Final

import altair as alt
import pandas as pd

from dashboard import forms
from dashboard.charts import COLOURS, MARKS, clock, heading, percent, with_gaps
from dashboard.health import Course
from dashboard.signals import Shown

_TALL: Final = 150
_HEADROOM: Final = 1.4
"""Room above a line for what is said of it."""
_GREY: Final = "#8b95a1"


def course(told: Course, changed: pd.DataFrame, since: datetime, until: datetime) -> dict[str, Any]:
    """A signal over time with what was usual before, and changes, for Vega-Lite. `changed` has time and label."""
    shown, values = told.shown, told.data["value"]
    ratio = shown.form == "hits"
    highest = float(max(values.max(), told.high if math.isfinite(told.high) else 0.0))
    about = {
        "since": pd.Timestamp(since),
        "until": pd.Timestamp(until),
        "low": told.low,
        "high": told.high,
        "usual": told.usual,
        "top": _HEADROOM * max(highest, 0.01 if ratio else 1e-9),
        "words": f"last {shown.text(values.iloc[-1])}, usually {shown.text(told.usual)}",
    }
    data = {"about": pd.DataFrame([about]), "points": with_gaps(told.data), "changes": changed[["time", "label"]]}
    words = {
        "title": shown.titled,
        "times": clock(since, until),
        "numbers": percent(highest) if ratio else "~s" if highest >= 1 else "~g",
        "precise": ".1%" if ratio else ",.4~g",
    }
    return forms.drawn(_course(), words, data)


def spread(found: pd.DataFrame, shown: Shown) -> dict[str, Any]:
    """Shares of measurements by their size, for Vega-Lite: now as an area, before as a line. `found` has value, now,
    before."""
    data = found[["value", "now", "before"]].sort_values("value")
    for name in ("now", "before"):
        data[name] = data[name].rolling(3, min_periods=1, center=True).mean() / max(data[name].sum(), 1.0)
    return forms.drawn(
        _spread(), {"title": shown.titled}, {"shares": data.melt("value", var_name="when", value_name="share")}
    )


def prepare() -> None:
    """Compute what charts are made of: a tenth of a second."""
    _course()
    _spread()


@cache
def _course() -> str:
    x_scale, y_scale = alt.Scale(nice=False), alt.Scale(nice=False, zero=True)
    times, numbers = alt.Axis(format="<times>", tickCount=4), alt.Axis(format="<numbers>", tickCount=3)
    x = alt.X("time:T", title=None, scale=x_scale, axis=times)
    y = alt.Y("value:Q", title=None, scale=y_scale, axis=numbers)
    ends = {
        "x": alt.X("since:T", title=None, scale=x_scale, axis=times),
        "y": alt.Y("top:Q", title=None, scale=y_scale, axis=numbers),
    }
    when = alt.Tooltip("time:T", format="%d %b %H:%M")
    tooltip = [when, alt.Tooltip("value:Q", format="<precise>"), alt.Tooltip("trials:Q", title="of", format=",.0f")]
    orange, calm, blue = COLOURS["green but failed"], COLOURS["fine"], MARKS["change"]
    about, points = forms.of("about"), forms.of("points").encode(x=x, y=y)
    changes = forms.of("changes").encode(x=x, tooltip=[when, "label:N"])
    layers = [
        # The first is never seen: axes reach as far as it does.
        about.mark_rect(opacity=0, aria=False, tooltip=None).encode(**ends, x2="until:T"),
        about.mark_rect(color=calm, opacity=0.25).encode(x="since:T", x2="until:T", y="low:Q", y2="high:Q"),
        about.mark_rule(color=calm, strokeDash=[6, 4], size=1.5).encode(y="usual:Q"),
        points.mark_line(color=orange, strokeWidth=1.5),
        points.mark_point(color=orange, filled=True, size=12, opacity=1).encode(tooltip=tooltip),
        changes.mark_rule(size=1, strokeDash=[3, 2], color=blue),
        changes.mark_point(shape="triangle-up", filled=True, size=70, opacity=1, color=blue, y=alt.expr("height - 5")),
        about.mark_text(align="right", baseline="top", x=alt.expr("width"), y=1, color=_GREY).encode(text="words:N"),
    ]
    return _form(alt.LayerChart(layer=layers))


@cache
def _spread() -> str:
    scale = alt.Scale(domain=["now", "before"], range=[COLOURS["green but failed"], COLOURS["fine"]])
    base = forms.of("shares").encode(
        x=alt.X("value:Q", title=None, scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=6)),
        y=alt.Y("share:Q", title=None, axis=None),
        color=alt.Color("when:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
        tooltip=[alt.Tooltip("value:Q", format=",.3~g"), "when:N", alt.Tooltip("share:Q", format=".1%")],
    )
    area = base.mark_area(opacity=0.3).transform_filter("datum.when === 'now'")
    return _form(alt.LayerChart(layer=[area, base.mark_line(strokeWidth=1.5)]))


def _form(chart: alt.LayerChart) -> str:
    return forms.text(chart.properties(height=_TALL, title=heading("<title>")))
