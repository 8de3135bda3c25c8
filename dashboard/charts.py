"""The charts. Colours say what became of a trace; they hold on dark and on light ground."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import altair as alt
import pandas as pd

from dashboard.incidents import Timeline

COLOURS: Final = {
    "fine": "#7fa8a3",
    "rescued": "#5b8def",
    "incomplete": "#98a2ad",
    "reported error": "#b0566e",
    "green but failed": "#e8890c",
}
STATUS_COLOURS: Final = {"ok": "#5f9e7f", "error": "#cf4f5f", "unset": "#98a2ad", "unknown": "#98a2ad"}
KIND_COLOURS: Final = {
    "llm": "#6c8fd6",
    "tool": "#5fa8a0",
    "agent": "#a9b4c0",
    "workflow": "#a9b4c0",
    "chain": "#a9b4c0",
}
MARKS: Final = {"began": "#cf4f5f", "opened": "#b0566e", "resolved": "#5f9e7f", "change": "#6c8fd6"}
_OTHER_KIND: Final = "#c3b6d6"
_LINE_TALL: Final = 280
_HEADROOM: Final = 1.12
"""Room for the names of marks above a line."""
_ROW: Final = 24
_NAMES: Final = 260
_INDENT: Final = 14


def waterfall(spans: pd.DataFrame) -> alt.HConcatChart:
    """The spans of a trace as bars over time, with what was reported and what really happened beside them.

    `spans` has row, depth, name, kind, reported, effective, reason, begin_ms, took_ms, tokens and cost, in order.
    """
    height = _ROW * len(spans)
    rows = alt.Y("row:O", axis=None, scale=alt.Scale(type="band", paddingInner=0.1))
    long = (spans["begin_ms"] + spans["took_ms"]).max() > 10_000
    unit, divisor = ("seconds", 1000.0) if long else ("milliseconds", 1.0)
    spans = spans.assign(
        begin=spans["begin_ms"] / divisor,
        end=(spans["begin_ms"] + spans["took_ms"]) / divisor,
        colour=spans["kind"].map(lambda kind: KIND_COLOURS.get(kind, _OTHER_KIND)),
    )
    tooltip = [
        alt.Tooltip("name:N", title="span"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("reported:N"),
        alt.Tooltip("effective:N"),
        alt.Tooltip("reason:N"),
        alt.Tooltip("begin_ms:Q", format=",.0f", title="begins at ms"),
        alt.Tooltip("took_ms:Q", format=",.1f", title="takes ms"),
    ]
    base = alt.Chart(spans).encode(y=rows, tooltip=tooltip)
    names = (
        base.mark_text(align="left", limit=_NAMES)
        .encode(
            x=alt.X("depth:Q", axis=None, scale=alt.Scale(domain=[0, _NAMES / _INDENT], clamp=True)),
            text="name:N",
            color=alt.value("#8b95a1"),
        )
        .properties(width=_NAMES, height=height, title=heading("Span"))
    )
    faulty = names.encode(color=alt.value(STATUS_COLOURS["error"])).transform_filter("datum.effective === 'error'")
    bars = base.mark_bar(cornerRadius=2, height=_ROW * 0.5).encode(
        x=alt.X("begin:Q", title=f"{unit} from the start", axis=alt.Axis(tickCount=6, orient="top")),
        x2="end:Q",
        color=alt.Color("colour:N", scale=None),
        stroke=alt.condition("datum.effective === 'error'", alt.value(STATUS_COLOURS["error"]), alt.value(None)),
        strokeWidth=alt.value(2),
    )
    chart: alt.HConcatChart = alt.hconcat(
        names + faulty,
        _dots(base, "reported", "Reported", height),
        _dots(base, "effective", "Effective", height),
        _words(base, "tokens", "Tokens in → out", 92, height),
        _words(base, "cost", "Cost", 56, height),
        bars.properties(height=height, width=640),
        spacing=8,
    ).configure_view(stroke=None)
    return chart


def _dots(base: alt.Chart, column: str, title: str, height: int) -> alt.LayerChart:
    colour = alt.Color(
        f"{column}:N",
        scale=alt.Scale(domain=list(STATUS_COLOURS), range=list(STATUS_COLOURS.values())),
        legend=None,
    )
    dot = base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.value(8), color=colour)
    text = base.mark_text(align="left").encode(x=alt.value(18), text=f"{column}:N", color=colour)
    chart: alt.LayerChart = (dot + text).properties(width=70, height=height, title=heading(title))
    return chart


def _words(base: alt.Chart, column: str, title: str, width: int, height: int) -> alt.Chart:
    text = base.mark_text(align="left", color="#8b95a1").encode(x=alt.value(0), text=f"{column}:N")
    chart: alt.Chart = text.properties(width=width, height=height, title=heading(title))
    return chart


def heading(text: str) -> alt.TitleParams:
    """A title at the left, no louder than the text around."""
    return alt.TitleParams(text, anchor="start", fontSize=12, fontWeight="normal", color="#8b95a1")


def timeline(told: Timeline, marks: pd.DataFrame) -> alt.LayerChart:
    """A signal over time with what was usual before, and marks on the same axis.

    `marks` has time, kind (a key of `MARKS`), label and detail.
    """
    x = _over(told.since, told.until)
    form = ".0%" if told.shown.form == "hits" else "~s"
    highest = max(told.data["value"].max(), told.high if math.isfinite(told.high) else 0.0) or 1.0
    y = alt.Y(
        "value:Q",
        title=None,
        axis=alt.Axis(format=form, tickCount=5),
        scale=alt.Scale(domain=[0.0, _HEADROOM * highest]),
    )
    layers: list[alt.Chart] = []
    if math.isfinite(told.low) and math.isfinite(told.high):
        band = pd.DataFrame([{"time": told.since, "end": told.until, "value": told.low, "high": told.high}])
        layers.append(
            alt.Chart(band).mark_rect(color=COLOURS["fine"], opacity=0.25).encode(x=x, x2="end:T", y=y, y2="high:Q")
        )
    if math.isfinite(told.usual):
        usual = pd.DataFrame([{"value": told.usual}])
        layers.append(alt.Chart(usual).mark_rule(color=COLOURS["fine"], strokeDash=[6, 4], size=1.5).encode(y=y))
    layers.append(
        alt.Chart(with_gaps(told.data)).mark_line(color=COLOURS["green but failed"], strokeWidth=2).encode(x=x, y=y)
    )
    layers.append(
        alt.Chart(told.data)
        .mark_point(color=COLOURS["green but failed"], filled=True, size=22, opacity=1)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("time:T", format="%d %b %H:%M"),
                alt.Tooltip("value:Q", title=told.shown.label, format=".1%" if told.shown.form == "hits" else ",.4~g"),
                alt.Tooltip("trials:Q", title="of", format=",.0f"),
            ],
        )
    )
    return alt.LayerChart(layer=[*layers, *_marks(marks, x)]).properties(height=_LINE_TALL)


def incident_bars(found: pd.DataFrame, colours: Mapping[str, str], since: datetime, until: datetime) -> alt.Chart:
    """Incidents as bars over time, in lanes. `found` has which (the lane), severity, opened, end, summary."""
    data = found[["which", "severity", "opened", "end", "summary", "where"]]
    chart: alt.Chart = (
        alt.Chart(data.rename(columns={"opened": "time"}))
        .mark_bar(height=12, opacity=0.75, cornerRadius=2)
        .encode(
            x=_over(since, until),
            x2="end:T",
            y=alt.Y("which:N", title=None, sort=["replayed", "as it was"]),
            color=alt.Color(
                "severity:N",
                scale=alt.Scale(domain=list(colours), range=list(colours.values())),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[alt.Tooltip("time:T", format="%d %b %H:%M", title="opened"), "where:N", "summary:N"],
        )
        .properties(height=90)
    )
    return chart


def _over(since: datetime, until: datetime) -> alt.X:
    # As an expression Vega takes it in every layer alike: a list of times it reads differently where there is an `x2`.
    domain = alt.ExprRef(f"[{_ms(since)}, {_ms(until)}]")
    return alt.X("time:T", title=None, scale=alt.Scale(domain=domain), axis=_clock(since, until))


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _clock(since: datetime, until: datetime) -> alt.Axis:
    return alt.Axis(format=clock(since, until), tickCount=8)


def clock(since: datetime, until: datetime) -> str:
    """How to write times: 24 hours a day; with the day where it is not clear."""
    return "%H:%M" if until - since <= timedelta(hours=24) else "%d %b %H:%M"


def percent(highest: float) -> str:
    """How to write ratios up to this one."""
    return ".1%" if highest < 0.03 else ".0%"


def _marks(marks: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    """Vertical lines, named at the top; changes have a triangle at the bottom and tell in a tooltip."""
    colour = alt.Color("kind:N", scale=alt.Scale(domain=list(MARKS), range=list(MARKS.values())), legend=None)
    tooltip = [
        alt.Tooltip("time:T", format="%d %b %H:%M"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("detail:N", title="agents"),
    ]
    base = alt.Chart(marks).encode(x=x, color=colour, tooltip=tooltip)
    # The onset is named on its left: the opening is close to it on the right.
    began = base.transform_filter("datum.kind === 'began'").mark_text(align="right", dx=-5, y=8, fontWeight="bold")
    others = base.transform_filter("datum.kind === 'opened' || datum.kind === 'resolved'").mark_text(
        align="left", dx=5, y=8, fontWeight="bold"
    )
    triangles = base.transform_filter("datum.kind === 'change'").mark_point(
        shape="triangle-up", filled=True, size=110, opacity=1, y=alt.expr("height - 7")
    )
    return [
        base.mark_rule(size=1.5, strokeDash=[3, 2]),
        began.encode(text="label:N"),
        others.encode(text="label:N"),
        triangles,
    ]


def with_gaps(data: pd.DataFrame) -> pd.DataFrame:
    """The same with an empty row after each step that no other follows: a line breaks there."""
    last = data["end"] != data["begin"].shift(-1)
    gaps = pd.DataFrame({"time": data.loc[last, "end"], "value": math.nan})
    return pd.concat([data[["time", "value", "trials"]], gaps.iloc[:-1]], ignore_index=True).sort_values("time")
