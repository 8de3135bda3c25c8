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


def _nothing(_view: View, _found: Sequence[Health]) -> pd.DataFrame | None:
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
    more: Callable[[View, Sequence[Health]], pd.DataFrame | None] = _nothing
    """Further columns of the table, by row."""
    more_columns: Mapping[str, object] = field(default_factory=dict)


@st.fragment(run_every=parts.REFRESH_S)
def live(subject: Subject, first: View, place: Place) -> None:
    """Draw the page, and again every few seconds."""
    parts.guarded(lambda: _draw(subject, chosen.again(first), place))


def _draw(subject: Subject, view: View, place: Place) -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    st.markdown(f"#### {subject.title}")
    wanted = dict.fromkeys((subject.volume[0], *subject.columns))
    found = health.health(view, subject.by, list(wanted))
    table.draw(
        found,
        subject.by,
        subject.volume,
        subject.columns,
        empty=subject.empty,
        more=subject.more(view, found),
        columns=subject.more_columns,
        link=subject.page,
    )
    if not found:
        return
    st.caption(table.compared(view))
    shown = _chosen(found, place)
    st.markdown("#### In detail")
    st.text(shown.words)
    about = shown.model or shown.tool
    changed = health.changes(view, agent=shown.agent, about="" if shown.agent else about)
    detail.draw(view, shown, subject.drawn, subject.spread, changed)


def _chosen(found: Sequence[Health], place: Place) -> Place:
    """The place that was chosen, or else the worst."""
    asked = {name: value for name, value in place.values().items() if value}
    fits = [one.place for one in found if all(getattr(one.place, name) == value for name, value in asked.items())]
    return fits[0] if fits else place if asked else found[0].place
