"""Silences of scopes: begin one with the scope of an incident, see those that last, end one."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboard import parts, sign_in
from dashboard.incidents import Incident
from dashboard.panels.given import LENGTHS_S, form_key, give
from dashboard.silences import Silence, scope_of, scope_words, silences

_SHOWN: Final = 20


def begin(about: Incident) -> None:
    """Silence all that an incident is about, or part of that."""
    scope = scope_of(about)
    # As narrow as can be, but that what becomes worse and is called otherwise by then is the same.
    likely = [name for name in scope if name != "kind"] or list(scope)
    keys = {name: form_key(about, f"silence scope {name}") for name in ("scope", "length", "note", "sure")}

    def send() -> None:
        said = {name: st.session_state[key] for name, key in keys.items()}
        if said["scope"] and said["sure"]:
            narrowed = {name: scope[name] for name in said["scope"]}
            body = {"scope": narrowed, "duration_s": LENGTHS_S[said["length"]], "note": said["note"]}
            give(about, "silences", body, "Silenced the scope")

    with (
        st.popover("Silence scope", key=form_key(about, "open silence scope")),
        st.form(form_key(about, "silence scope"), border=False),
    ):
        st.caption("Nothing is sent about any incident that has all of this, those to come included.")
        chosen = st.multiselect(
            "Scope",
            list(scope),
            likely,
            format_func=lambda name: scope_words({name: scope[name]}),
            key=keys["scope"],
        )
        st.selectbox("For", list(LENGTHS_S), index=2, key=keys["length"])
        st.text_input("Why", max_chars=500, key=keys["note"])
        sure = st.checkbox("Incidents to come are to wake nobody either", key=keys["sure"])
        if not st.form_submit_button("Silence the scope", type="primary", on_click=send):
            return
        if not chosen:
            st.warning("Choose what it is about.")
        elif not sure:
            st.warning("Tick the box: nobody is woken by what comes.")


def lasting(about: Incident, now: pd.Timestamp) -> None:
    """Those that last, first the ones that cover this incident; responders can end them."""
    st.markdown("#### Silences that last")
    found = silences(about, now)
    if not found:
        st.caption("Nothing is silenced.")
        return
    st.caption("● covers this incident, ○ is about something else.")
    person = sign_in.person()
    for one in found[:_SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"silence-{one.id}"):
            # Never as Markdown: scopes and notes are what others say.
            st.text(_told(one, about, now))
            if person is not None and person.acts:
                _end(about, one)
    if len(found) > _SHOWN:
        st.caption(f"And {len(found) - _SHOWN} more: `dimwatch incidents silences` lists all.")


def _told(one: Silence, about: Incident, now: pd.Timestamp) -> str:
    words = "this incident" if one.incident == about.id else one.words
    mark = "● " if one.covers(about) else "○ "
    said = f": {one.note}" if one.note else ""
    return f"{mark}{words} until {parts.clock(one.ends, now)}, by {one.by}{said}"


def _end(about: Incident, one: Silence) -> None:
    with st.popover("End", key=f"end {one.id}"):
        st.caption("From then on people are told again of what it covers.")
        order = (about, f"silences/{one.id}", None, "Ended the silence", "DELETE")
        # Before the page is drawn, whose top says what becomes of it.
        st.button("End this silence", type="primary", key=f"end now {one.id}", on_click=give, args=order)
