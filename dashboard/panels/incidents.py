"""Incidents on the page Now: what is wrong, in a sentence each, and what was."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import incidents, parts
from dashboard.incidents import Incident
from dashboard.queries import View
from dashboard.source import source

_CARDS: Final = 6
_BLOCK: Final = timedelta(minutes=10)
"""The statistics learn in such blocks: nothing is normal before the first has left the guard."""
_COLOURS: Final = {"critical": "red", "warning": "orange", "ticket": "gray"}


def draw(view: View) -> None:
    """Open incidents, worst first; those that ended in the range; or that there is none."""
    found = incidents.incidents(view)
    going = [one for one in found if one.open]
    for one in going[:_CARDS]:
        _card(one, pd.Timestamp(view.until))
    if not going:
        _calm(view)
    more, over = going[_CARDS:], [one for one in found if not one.open]
    if more or over:
        counts = [f"{len(more)} more open" if more else "", f"{len(over)} over in this time range" if over else ""]
        with st.expander("Incidents: " + ", ".join(filter(None, counts)), expanded=bool(more)):
            _table(more + over, pd.Timestamp(view.until))


def badges(one: Incident) -> None:
    """Severity, kind and, unless it is simply open, status."""
    with st.container(horizontal=True, gap="small"):
        st.badge(_word(one.severity), color=_COLOURS.get(one.severity, "gray"))  # type: ignore[arg-type]
        st.badge(_word(one.kind), color="blue")
        if one.status != "open":
            st.badge(_word(one.status), color="green" if one.status == "resolved" else "gray")


def _card(one: Incident, now: pd.Timestamp) -> None:
    with st.container(border=True):
        left, middle, right = st.columns([2, 10, 2], vertical_alignment="center")
        with left:
            badges(one)
        with middle:
            st.text(one.summary)
            facts = [
                one.place,
                f"since {parts.clock(one.started, now)} ({parts.lasting(one.until(now) - one.started)})",
                f"{one.runs:,.0f} runs hit",
                "" if one.evidence is None else f"evidence {one.evidence:,.0f}",
            ]
            st.text("  ·  ".join(filter(None, facts)))
        with right:
            st.link_button("Look into it", parts.incident_url(one.id), width="stretch")


def _calm(view: View) -> None:
    series, since = incidents.watched(view)
    with st.container(border=True):
        if since is None:
            st.markdown("**No incident.** Nothing is watched yet: the first window closes a minute or two after a run.")
            return
        guard = timedelta(hours=source().settings.detection.guard_h)
        learned, now = since + guard + _BLOCK, pd.Timestamp(view.until)
        known = (
            f"normal is being learned until {parts.clock(learned, now)}, unless recordings have taught it before."
            if learned > now
            else f"what is normal has been learned since {parts.clock(since, now)}."
        )
        st.markdown(f"**No incident.** {series:,} series are watched, {known}")


def _table(found: list[Incident], now: pd.Timestamp) -> None:
    rows = pd.DataFrame(
        {
            "severity": [parts.SEVERITIES.get(one.severity, one.severity) for one in found],
            "kind": [_word(one.kind) for one in found],
            "where": [one.place for one in found],
            "started": parts.local(pd.Series([one.started for one in found])),
            "lasted": [parts.lasting(one.until(now) - one.started) for one in found],
            "status": [one.status for one in found],
            "runs": [one.runs for one in found],
            "cost": [one.cost_usd for one in found],
            "incident": [parts.incident_url(one.id) for one in found],
            "summary": [one.summary for one in found],
        }
    )
    columns = {
        "severity": parts.text("severity", 84),
        "kind": parts.text("kind", 120),
        "where": parts.text("where", 220),
        "started": parts.moment("began"),
        "lasted": parts.text("lasted", 84),
        "status": parts.text("status", 90),
        "runs": parts.number("runs hit"),
        "cost": parts.money("cost"),
        "incident": parts.incident_link(),
        "summary": parts.text("summary", 700),
    }
    parts.table(rows, columns, empty="")


def _word(name: str) -> str:
    """A word of ours as plain letters: it goes through Markdown."""
    return "".join(letter if letter.isalpha() else " " for letter in name)
