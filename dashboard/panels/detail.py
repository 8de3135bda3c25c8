"""One tool, model or agent: its signals over time against what is usual, how measurements are spread, what changed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import health, multiples, parts
from dashboard.health import Course, Place
from dashboard.queries import View
from dashboard.signals import SIGNALS
from dashboard.source import soon

_ACROSS: Final = 3
_NAMES: Final = {
    "answered_model": "model that answers",
    "prompt": "system prompt",
    "tools": "list of tools",
    "model": "model asked for",
}
"""Of attributes whose own name is not the word."""
_LONGEST: Final = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be told of a place, on its way."""

    courses: Future[list[Course]]
    spread: Future[pd.DataFrame]
    changed: Future[pd.DataFrame]

    @classmethod
    def of(cls, view: View, place: Place, signals: Sequence[str], spread: Sequence[str]) -> Asked:
        """Signals of the place, how the measurements `spread` are spread, and the changes."""
        about = "" if place.agent else place.model or place.tool
        return cls(
            soon(health.courses, view, place, signals),
            soon(health.histogram, view, (), spread, place),
            soon(health.changes, view, agent=place.agent, about=about),
        )


def draw(view: View, asked: Asked, spread: Sequence[str]) -> None:
    """What was asked for; `spread` in that order."""
    drawn, changed = asked.courses.result(), asked.changed.result()
    if not drawn:
        st.caption("No window with anything of it in this time range.")
    for begin in range(0, len(drawn), _ACROSS):
        for cell, course in zip(st.columns(_ACROSS), drawn[begin : begin + _ACROSS], strict=False):
            with cell:
                _course(view, course, changed)
    if drawn:
        st.caption("Band: nine of ten points before this time range; dashed: that time together; triangles: changes.")
    left, right = st.columns(2)
    with left:
        _spread(asked.spread.result(), spread)
    with right:
        changes(changed)


def changes(changed: pd.DataFrame, title: str = "What changed when") -> None:
    """A table of changes."""
    st.markdown(f"#### {title}")
    if not changed.empty:
        changed = changed.assign(
            time=parts.local(changed["time"]),
            what=[named(attribute) for attribute in changed["attribute"]],
            status=changed["status"].str.replace("_", " "),
        )
    columns = {
        "time": parts.moment("time"),
        "agent": parts.text("agent", 130),
        "what": parts.text("what", 130),
        "key": parts.text("of", 110),
        "before": parts.text("before", 150),
        "after": parts.text("after", 150),
        "status": parts.text("status", 84),
    }
    parts.table(changed, columns, empty="Nothing changed in this time range, as far as the telemetry says.")


def named(attribute: str) -> str:
    """An attribute of the change ledger in words."""
    return _NAMES.get(attribute, attribute)


def sentence(attribute: str, key: str, before: str, after: str) -> str:
    """A change in words."""
    name = named(attribute) + (f" of {key}" if key else "")
    return f"{name}: {_short(before) or 'none'} → {_short(after) or 'none'}"


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:12]}…"


def _course(view: View, course: Course, changed: pd.DataFrame) -> None:
    label = course.shown.label
    marks = pd.DataFrame({"time": [], "label": []})
    if not changed.empty:
        columns = ["attribute", "key", "before", "after"]
        told = [sentence(*(str(value) for value in row)) for row in changed[columns].itertuples(index=False)]
        marks = pd.DataFrame({"time": pd.to_datetime(changed["time"], utc=True), "label": told})
        marks = marks[marks["time"] >= pd.Timestamp(view.since)].drop_duplicates()
    drawn = multiples.course(course, marks, view.since, view.until)
    st.vega_lite_chart(drawn, width="stretch", alt=f"{label} over time")


def _spread(found: pd.DataFrame, signals: Sequence[str]) -> None:
    st.markdown("#### How it is spread, now and before")
    if found.empty:
        st.caption("Nothing was measured in this time range.")
        return
    for signal in signals:
        one = found[found["signal"] == signal]
        if one.empty or not one["now"].sum():
            continue
        shown = SIGNALS[signal]
        low, high = (health.quantiles(one, (), (0.5, 0.95))[(signal,)][place] for place in (0, 1))
        st.vega_lite_chart(multiples.spread(one, shown), width="stretch", alt=f"How the {shown.label} is spread")
        st.caption(f"Half are below {shown.text(low)}, 95 of 100 below {shown.text(high)}.")
