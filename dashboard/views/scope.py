"""Scope: what agents reach that they never reached before, and what is shared between users."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import chosen, parts, queries, reach
from dashboard.chosen import Filter
from dashboard.queries import View

_WORDS: Final = {"tool": "Tools", "argument": "Arguments of tools", "resource": "Resources"}
_HELP: Final = {
    "tool": "Pairs of an agent and a tool that it called.",
    "argument": "Names of arguments that an agent gave to a tool.",
    "resource": "Hosts, tables, buckets, repositories and so on that an argument named.",
}


@st.fragment(run_every=parts.SLOW_REFRESH_S)
def _live(first: View) -> None:
    parts.guarded(lambda: _draw(chosen.again(first)))


def _draw(view: View) -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    for card, (kind, (known, fresh)) in zip(st.columns(3), reach.counts(view).items(), strict=True):
        card.metric(
            _WORDS[kind],
            f"{known:,}",
            f"{fresh:,} new in this time range" if fresh else "none new in this time range",
            delta_color="off",
            delta_arrow="up" if fresh else "off",
            border=True,
            help=_HELP[kind],
        )
    left, right = st.columns([7, 6])
    with left:
        _ledger(view)
    with right:
        _shared(view)


def _ledger(view: View) -> None:
    st.markdown("#### First seen, the newest first")
    found = reach.ledger(view, view.picked["kind"])
    if not found.empty:
        found = found.assign(
            new=["● new" if fresh else "" for fresh in found["fresh"]],
            since=parts.local(found["since"]),
            lately=parts.local(found["lately"]),
            trace=found["trace_id"].map(parts.trace_url),
        )
    parts.table(
        found,
        {
            "new": parts.text("", 56),
            "since": parts.moment("first seen"),
            "kind": parts.text("kind", 76),
            "who": parts.text("agent", 130),
            "tool": parts.text("tool", 120),
            "name": parts.text("argument or resource", 150),
            "trace": parts.trace_link("first trace"),
            "lately": parts.moment("last seen"),
        },
        empty="Nothing is known yet: no tool was called.",
        height=640,
    )


def _shared(view: View) -> None:
    st.markdown("#### Shared between users")
    found = reach.shared(view)
    if not found.empty:
        found = found.assign(trace=found["example"].map(parts.trace_url), lately=parts.local(found["lately"]))
    parts.table(
        found,
        {
            "argument": parts.text("what", 110),
            "value": parts.text("value", 150),
            "users": parts.number("users", "Users on whose behalf it was named."),
            "calls": parts.number("calls"),
            "tool": parts.text("tool", 120),
            "trace": parts.trace_link("last trace"),
            "lately": parts.moment("last"),
        },
        empty="No conversation, customer, account or the like was named for more than one user.",
        height=640,
    )
    st.caption("Of the last half hour of the time range. Some things are meant to be shared; a conversation seldom is.")


parts.style()
_live(
    chosen.view(chosen.AGENT, Filter("kind", "all kinds", lambda _view: list(reach.KINDS)), live_s=parts.SLOW_REFRESH_S)
)
