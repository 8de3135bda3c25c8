"""The charts. Colours say what became of a trace; they hold on dark and on light ground."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import altair as alt
import pandas as pd

from dashboard.queries import CLASSES

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
_OTHER_KIND: Final = "#c3b6d6"
_TALL: Final = 190
_ROW: Final = 24
_NAMES: Final = 260
_INDENT: Final = 14


def shares(counts: pd.DataFrame) -> alt.LayerChart:
    """Share of traces that failed: those that look green, and those that say so."""
    wide = counts.pivot_table(index="time", columns="class", values="traces", aggfunc="sum")
    failed = wide[["green but failed", "reported error"]]
    total = wide.sum(axis=1)
    # Few traces make a jagged line, so each point is the share over five buckets. A bucket without a trace has no
    # share: the line breaks there instead of touching zero.
    near = total.rolling(5, min_periods=1).sum()
    shares_near = failed.rolling(5, min_periods=1).sum().div(near.where(near > 0), axis=0).where(total > 0, axis=0)
    data = shares_near.assign(traces=total).reset_index()
    data = data.melt(["time", "traces"], var_name="class", value_name="share").dropna()
    base = alt.Chart(data).encode(
        x=alt.X("time:T", title=None),
        y=alt.Y("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=4), scale=alt.Scale(domainMin=0)),
        tooltip=[
            alt.Tooltip("time:T", format="%d %b %H:%M"),
            alt.Tooltip("class:N"),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("traces:Q", title="traces in bucket"),
        ],
    )
    area = base.mark_area(opacity=0.16, interpolate="monotone", color=COLOURS["green but failed"])
    line = base.mark_line(strokeWidth=2, interpolate="monotone").encode(
        color=_class_colour(["green but failed", "reported error"])
    )
    chart: alt.LayerChart = (area.transform_filter("datum.class === 'green but failed'") + line).properties(
        height=_TALL
    )
    return chart


def volume(counts: pd.DataFrame, step: timedelta) -> alt.Chart:
    """Traces a minute by what became of them, what failed at the bottom where it can be compared."""
    minutes = step / timedelta(minutes=1)
    data = counts.assign(rate=counts["traces"] / minutes, end=counts["time"] + step)
    data["order"] = -data["class"].map({name: place for place, name in enumerate(CLASSES)})
    data = data.sort_values(["time", "order"])
    data["top"] = data.groupby("time")["rate"].cumsum()
    data["bottom"] = data["top"] - data["rate"]
    chart: alt.Chart = (
        alt.Chart(data[data["traces"] > 0])
        .mark_rect(opacity=0.9)
        .encode(
            x=alt.X("time:T", title=None),
            x2="end:T",
            y=alt.Y("bottom:Q", title=None, axis=alt.Axis(tickCount=4)),
            y2="top:Q",
            color=_class_colour(list(reversed(CLASSES))),
            tooltip=[
                alt.Tooltip("time:T", format="%d %b %H:%M"),
                alt.Tooltip("class:N"),
                alt.Tooltip("traces:Q"),
                alt.Tooltip("rate:Q", format=".1f", title="a minute"),
            ],
        )
        .properties(height=_TALL)
    )
    return chart


def waterfall(spans: pd.DataFrame) -> alt.HConcatChart:
    """The spans of a trace as bars over time, with what was reported and what really happened beside them.

    `spans` has row, depth, name, kind, reported, effective, reason, begin_ms and took_ms, in order of rows.
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
        .properties(width=_NAMES, height=height, title=_title("Span"))
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
        bars.properties(height=height, width=760),
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
    chart: alt.LayerChart = (dot + text).properties(width=70, height=height, title=_title(title))
    return chart


def _title(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", fontSize=12, fontWeight="normal", color="#8b95a1")


def _class_colour(classes: list[str]) -> alt.Color:
    scale = alt.Scale(domain=classes, range=[COLOURS[name] for name in classes])
    return alt.Color("class:N", scale=scale, legend=alt.Legend(title=None, orient="top", direction="horizontal"))
