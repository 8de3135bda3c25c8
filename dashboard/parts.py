"""Pieces that pages share: the frame around live content, empty and error states, table columns.

Text from telemetry never reaches Markdown, and HTML only escaped: it goes into tables, code blocks, and charts, which
show it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import streamlit as st

from dashboard.source import source
from dimwatch.errors import DimwatchError, RetryableError

REFRESH_S: Final = 10
SLOW_REFRESH_S: Final = 60
"""For what changes slowly and reads much."""
SEVERITIES: Final = {"critical": "⬤ critical", "warning": "◉ warning", "ticket": "○ ticket", "info": "○ info"}

_STYLE: Final = """<style>
[data-testid="stMainBlockContainer"] {max-width: 1760px; padding-left: 2rem; padding-right: 2rem;}
[data-testid="stMetric"] {padding: .5rem .9rem .4rem;}
[data-testid="stMetricLabel"] p {font-size: .85rem; opacity: .75;}
[data-testid="stMarkdownContainer"]:has(h4) {margin-bottom: 0;}
[data-testid="stMainBlockContainer"] h4 {font-size: 1rem; font-weight: 600; padding: .5rem 0 .15rem;}
[data-testid="stMainBlockContainer"] [data-testid="stVerticalBlock"] {gap: .5rem;}
pre.payload {max-height: 420px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0;
    padding: .6rem .8rem; font-size: .85rem; line-height: 1.45; border-radius: 6px;
    background: color-mix(in srgb, currentColor 6%, transparent); color: inherit;}
pre.payload mark {background: #e8890c55; color: inherit; border-bottom: 2px solid #e8890c; padding: 0 1px;}
[data-testid="stVegaLiteChart"] {overflow-x: auto;}
@media (max-width: 1000px) {
    [data-testid="stMainBlockContainer"] {padding-left: 1rem; padding-right: 1rem;}
    [data-testid="stMetric"] {padding: .4rem .6rem .3rem;}
    [data-testid="stMetricLabel"] p {white-space: normal; font-size: .75rem;}
    [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] [data-testid="stMetric"]) {flex-wrap: wrap;}
    [data-testid="stHorizontalBlock"] > [data-testid="stColumn"]:has([data-testid="stMetric"]) {
        min-width: calc(33% - 1rem);}
}
</style>"""


def style() -> None:
    """Tighten what Streamlit leaves airy."""
    st.html(_STYLE)


def zone() -> str:
    """The time zone of the person's browser; UTC where it says none that is known here."""
    try:
        return str(ZoneInfo(st.context.timezone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


def local(times: pd.Series) -> pd.Series:
    """Times in the time zone of the person's browser."""
    return pd.to_datetime(times, utc=True).dt.tz_convert(zone())


def guarded(draw: Callable[[], None]) -> None:
    """Draw, or say that the store is away: the next refresh tries again."""
    try:
        draw()
    except RetryableError as error:
        with st.container(border=True):
            st.markdown("#### The store does not answer")
            st.caption("What is received meanwhile is safe in the eventlog. This page tries again by itself.")
            st.code(str(error), language=None, wrap_lines=True)
            st.caption("Look with `dimwatch status`; `dimwatch doctor` names a remedy.")
    except DimwatchError as error:
        with st.container(border=True):
            st.markdown("#### The store refuses a query")
            st.caption("Is it of the same version as this dashboard? `dimwatch doctor` looks.")
            st.code(str(error), language=None, wrap_lines=True)


def no_telemetry() -> None:
    """Say where telemetry goes."""
    receiver = source().settings.receiver
    with st.container(border=True):
        st.markdown("#### No telemetry yet")
        st.caption("Point an OpenTelemetry exporter at Dimwatch; the first findings take less than a minute.")
        st.code(
            f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://{receiver.host}:{receiver.http_port}"
            f"    # gRPC: http://{receiver.host}:{receiver.grpc_port}",
            language="sh",
            wrap_lines=True,
        )
        st.caption("Or look at a simulated fleet of agents:")
        st.code("dimwatch simulate", language="sh")


def table(
    frame: pd.DataFrame,
    columns: dict[str, object],
    *,
    empty: str,
    height: int | None = None,
    key: str | None = None,
    looks: pd.DataFrame | None = None,
) -> None:
    """A dense table of these columns, or a line that says why there is none. `looks`: CSS by cell, of all columns."""
    if frame.empty:
        st.caption(empty)
        return
    shown = frame[list(columns)]
    st.dataframe(
        shown if looks is None else shown.style.apply(lambda _: looks, axis=None),
        hide_index=True,
        row_height=28,
        height=height or min(28 * (len(frame) + 1) + 10, 390),
        column_config=columns,  # type: ignore[arg-type]
        key=key,
    )


def payload(pieces: Sequence[tuple[str, bool]]) -> None:
    """A payload as it is, evidence marked, in a box that scrolls if it is long. The text is escaped: it stays text."""
    shown = "".join(f"<mark>{escape(text)}</mark>" if marked else escape(text) for text, marked in pieces)
    st.html(f'<pre class="payload" tabindex="0">{shown or " "}</pre>')


def share(label: str, help: str | None = None, top: float = 1.0) -> object:
    """A column of ratios as bars, full at `top`."""
    return st.column_config.ProgressColumn(label, help=help, format="percent", min_value=0, max_value=top, width=86)


def seconds(label: str, help: str | None = None) -> object:
    """A column of seconds."""
    return st.column_config.NumberColumn(label, help=help, format="%.2f s", width=70)


def number(label: str, help: str | None = None, format: str = "compact") -> object:
    """A column of counts."""
    return st.column_config.NumberColumn(label, help=help, format=format, width=62)


def money(label: str, help: str | None = None) -> object:
    """A column of US dollars."""
    return st.column_config.NumberColumn(label, help=help, format="$%.2f", width=74)


def text(label: str, width: int = 130, help: str | None = None) -> object:
    """A column of texts, `width` pixels wide."""
    return st.column_config.TextColumn(label, help=help, width=width)


def moment(label: str) -> object:
    """A column of times."""
    return st.column_config.DatetimeColumn(label, format="D MMM HH:mm:ss", width=110)


def trace_link(label: str = "trace") -> object:
    """A column of links to the trace page."""
    return st.column_config.LinkColumn(label, display_text=r"trace_id=([0-9a-f]{8})", width=76)


def trace_url(trace_id: str) -> str:
    """The address of a trace on the trace page."""
    return f"/trace?trace_id={trace_id}"


def incident_url(incident_id: str) -> str:
    """The address of an incident on the incident page."""
    return f"/incident?id={incident_id}"


def incident_link(label: str = "incident") -> object:
    """A column of links to the incident page."""
    return st.column_config.LinkColumn(label, display_text="open", width=64)


def query(values: Mapping[str, str]) -> str:
    """Names and values for an address; what is empty is left out."""
    return urlencode({name: value for name, value in values.items() if value})


def link(label: str) -> object:
    """A column of links to other pages."""
    return st.column_config.LinkColumn(label, display_text="open", width=58)


def clock(time: pd.Timestamp, near: pd.Timestamp | None = None) -> str:
    """A time in the time zone of the person's browser, in words; without the day if that is the one of `near`."""
    shown, other = (_local(one) for one in (time, near or time))
    same = near is not None and shown.date() == other.date()
    return f"{shown:%H:%M}" if same else f"{shown:%-d %b %H:%M}"


def _local(time: pd.Timestamp) -> pd.Timestamp:
    aware = time if time.tzinfo else time.tz_localize("UTC")
    return aware.tz_convert(zone())


def lasting(length: pd.Timedelta) -> str:
    """A length of time in words, as `35 min` or `3 h 05`."""
    minutes = max(int(length / pd.Timedelta(minutes=1)), 0)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02}" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def ago(age: pd.Timedelta) -> str:
    """How long ago, in words, as `12 s ago`."""
    return f"{age / pd.Timedelta(seconds=1):.0f} s ago" if age < pd.Timedelta(minutes=2) else f"{lasting(age)} ago"
