"""The wide charts of Now and Cost: what became of traces over time, and what was spent. Of one form each, like the
small ones of `multiples`."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import altair as alt
import pandas as pd

from dashboard import forms
from dashboard.charts import COLOURS, clock
from dashboard.queries import CLASSES
from dashboard.spending import OTHERS

_TALL: Final = 190
_FAILED: Final = ("green but failed", "reported error")
_AGENTS: Final = ("#6c8fd6", "#5fa8a0", "#c7a14a", "#a884c4", "#7d93a8", "#b98a6b", "#98a2ad")
"""Neither of these says good or bad."""


def shares(counts: pd.DataFrame, since: datetime, until: datetime) -> dict[str, Any]:
    """Share of traces that failed, for Vega-Lite: those that look green, and those that say so."""
    wide = counts.pivot_table(index="time", columns="class", values="traces", aggfunc="sum")
    failed = wide[list(_FAILED)]
    total = wide.sum(axis=1)
    # Few traces make a jagged line, so each point is the share over five buckets. A bucket without a trace has no
    # share: the line breaks there instead of touching zero.
    near = total.rolling(5, min_periods=1).sum()
    shares_near = failed.rolling(5, min_periods=1).sum().div(near.where(near > 0), axis=0).where(total > 0, axis=0)
    data = shares_near.assign(traces=total).reset_index()
    return _drawn(_shares(), data.melt(["time", "traces"], var_name="class", value_name="share").dropna(), since, until)


def volume(counts: pd.DataFrame, step: timedelta, since: datetime, until: datetime) -> dict[str, Any]:
    """Traces a minute by what became of them, for Vega-Lite, what failed at the bottom where it can be compared."""
    minutes = step / timedelta(minutes=1)
    data = counts.assign(rate=counts["traces"] / minutes, end=counts["time"] + step)
    data["order"] = -data["class"].map({name: place for place, name in enumerate(CLASSES)})
    data = _stacked(data)
    return _drawn(_volume(), data[data["traces"] > 0], since, until)


def spend(found: pd.DataFrame, since: datetime, until: datetime) -> dict[str, Any]:
    """US dollars an hour over time, stacked by agent, for Vega-Lite. `found` has time, end, agent, rate, spent_usd."""
    names = list(found.groupby("agent")["rate"].sum().sort_values(ascending=False).index)
    names = [name for name in names if name != OTHERS] + [name for name in names if name == OTHERS]
    data = found.assign(order=found["agent"].map({name: place for place, name in enumerate(names)}))
    return _drawn(_spend(), _stacked(data), since, until)


def prepare() -> None:
    """Compute what charts are made of: a tenth of a second."""
    _shares()
    _volume()
    _spend()


def _stacked(data: pd.DataFrame) -> pd.DataFrame:
    """The rates of a time upon each other, by `order`."""
    data = data.sort_values(["time", "order"])
    top = data.groupby("time")["rate"].cumsum()
    return data.assign(top=top, bottom=top - data["rate"])


@cache
def _shares() -> str:
    share = alt.Y("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=4), scale=alt.Scale(domainMin=0))
    tooltip = [_when(), alt.Tooltip("class:N"), alt.Tooltip("share:Q", format=".1%"), _traces("traces in bucket")]
    base = forms.of("points").encode(x=_time("time"), y=share, tooltip=tooltip)
    area = base.mark_area(opacity=0.16, interpolate="monotone", color=COLOURS["green but failed"])
    line = base.mark_line(strokeWidth=2, interpolate="monotone").encode(color=_class_colour(_FAILED))
    return _form(area.transform_filter("datum.class === 'green but failed'"), line)


@cache
def _volume() -> str:
    tooltip = [
        _when(),
        alt.Tooltip("class:N"),
        _traces("traces"),
        alt.Tooltip("rate:Q", format=".1f", title="a minute"),
    ]
    bars = _bars(alt.Axis(tickCount=4)).encode(color=_class_colour(tuple(reversed(CLASSES))), tooltip=tooltip)
    return _form(bars)


@cache
def _spend() -> str:
    colour = alt.Color(
        "agent:N",
        scale=alt.Scale(range=list(_AGENTS)),
        sort=alt.EncodingSortField("order", op="min"),
        legend=_legend(),
    )
    tooltip = [
        _when(),
        alt.Tooltip("agent:N"),
        alt.Tooltip("rate:Q", format="$.2f", title="an hour"),
        alt.Tooltip("spent_usd:Q", format="$.4f", title="in this step"),
    ]
    return _form(_bars(alt.Axis(tickCount=4, format="$~s")).encode(color=colour, tooltip=tooltip))


def _bars(axis: alt.Axis) -> alt.Chart:
    y = alt.Y("bottom:Q", title=None, axis=axis)
    mark = forms.of("points").mark_rect(opacity=0.9)
    bars: alt.Chart = mark.encode(x=_time("time"), x2="end:T", y=y, y2="top:Q")
    return bars


def _class_colour(classes: tuple[str, ...]) -> alt.Color:
    scale = alt.Scale(domain=list(classes), range=[COLOURS[name] for name in classes])
    return alt.Color("class:N", scale=scale, legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top", direction="horizontal")


def _time(column: str) -> alt.X:
    return alt.X(f"{column}:T", title=None, scale=alt.Scale(nice=False), axis=alt.Axis(format="<times>", tickCount=8))


def _when() -> alt.Tooltip:
    return alt.Tooltip("time:T", format="%d %b %H:%M")


def _traces(title: str) -> alt.Tooltip:
    return alt.Tooltip("traces:Q", title=title)


def _form(*layers: alt.Chart) -> str:
    # The first is never seen: the axis of time reaches as far as it does.
    reach = forms.of("about").mark_rect(opacity=0, aria=False, tooltip=None).encode(x=_time("since"), x2="until:T")
    return forms.text(alt.LayerChart(layer=[reach, *layers]).properties(height=_TALL))


def _drawn(form: str, points: pd.DataFrame, since: datetime, until: datetime) -> dict[str, Any]:
    about = pd.DataFrame([{"since": pd.Timestamp(since), "until": pd.Timestamp(until)}])
    return forms.drawn(form, {"times": clock(since, until)}, {"about": about, "points": points})
