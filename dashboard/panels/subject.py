"""A page about tools, models or agents: all of them in a table, the worst first, and one of them in detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import streamlit as st

from dashboard import chosen, health, parts, queries
from dashboard.health import Health, Place
from dashboard.panels import detail
from dashboard.panels import health as table
from dashboard.queries import View
from dashboard.source import soon


def _nothing(_view: View) -> pd.DataFrame | None:
    return None


def _no_more(_asked: pd.DataFrame | None, _found: Sequence[Health]) -> pd.DataFrame | None:
    return None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about."""

    title: str
    page: str
    by: Sequence[str]
    """Dimensions that name one of them, as columns."""
    volume: tuple[str, str]
    """The signal whose trials are counted, and their name."""
    columns: Mapping[str, str]
    """Labels of the table's columns by signal."""
    drawn: Sequence[str]
    """Signals over time."""
    spread: Sequence[str]
    """Signals whose measurements are shown as they are spread."""
    empty: str
    asked: Callable[[View], pd.DataFrame | None] = _nothing
    """What further columns of the table are made of."""
    more: Callable[[pd.DataFrame | None, Sequence[Health]], pd.DataFrame | None] = _no_more
    """Those columns, by row."""
    more_columns: Mapping[str, object] = field(default_factory=dict)


@st.fragment(run_every=parts.REFRESH_S)
def live(subject: Subject, first: View, place: Place) -> None:
    """Draw the page, and again every few seconds."""
    parts.guarded(lambda: _draw(subject, chosen.again(first), place))


def _draw(subject: Subject, view: View, place: Place) -> None:
    wanted = list(dict.fromkeys((subject.volume[0], *subject.columns)))
    healths, asked = soon(health.health, view, subject.by, wanted), soon(subject.asked, view)
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    st.markdown(f"#### {subject.title}")
    found = healths.result()
    shown = _chosen(found, place)
    about = detail.Asked.of(view, shown, subject.drawn, subject.spread) if found else None
    table.draw(
        found,
        subject.by,
        subject.volume,
        subject.columns,
        empty=subject.empty,
        more=subject.more(asked.result(), found),
        columns=subject.more_columns,
        link=subject.page,
    )
    if about is None:
        return
    st.caption(table.compared(view))
    st.markdown("#### In detail")
    st.text(shown.words)
    detail.draw(view, about, subject.spread)


def _chosen(found: Sequence[Health], place: Place) -> Place:
    """The place that was chosen, or else the worst."""
    asked = {name: value for name, value in place.values().items() if value}
    fits = [one.place for one in found if all(getattr(one.place, name) == value for name, value in asked.items())]
    return fits[0] if fits else place if asked or not found else found[0].place
