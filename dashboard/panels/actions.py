"""What a person may do about an incident: acknowledge, silence it or its scope, resolve, call it false."""

from __future__ import annotations

import streamlit as st

from dashboard import sign_in
from dashboard.incidents import Incident
from dashboard.panels import silences
from dashboard.panels.given import LENGTHS_S, form_key, give, told


def panel(about: Incident) -> None:
    """The buttons, and what became of the last order."""
    person = sign_in.person()
    if person is None:
        return
    if not person.acts:
        who = f"Signed in as {person.name}, who may look." if person.name else "Nobody has signed in."
        st.caption(f"{who} Responders can acknowledge, silence and resolve here.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key=f"actions-{about.id}"):
        if about.open:
            if about.status != "acknowledged" and st.button("Acknowledge", type="primary", key=f"ack {about.id}"):
                give(about, f"incidents/{about.id}/acknowledge", {}, "Acknowledged")
            _silence(about)
        silences.begin(about)
        if about.open and st.button("Resolve", key=f"resolve {about.id}"):
            give(about, f"incidents/{about.id}/resolve", {}, "Resolved")
        if about.status != "false":
            _false(about)
        told(person, about)


def _silence(about: Incident) -> None:
    length, note = form_key(about, "silence for"), form_key(about, "silence why")

    def send() -> None:
        body = {"duration_s": LENGTHS_S[st.session_state[length]], "note": st.session_state[note]}
        give(about, f"incidents/{about.id}/silence", body, "Silenced")

    with st.popover("Silence", key=form_key(about, "open silence")), st.form(form_key(about, "silence"), border=False):
        st.selectbox("For", list(LENGTHS_S), index=2, key=length)
        st.text_input("Why", max_chars=500, key=note)
        st.form_submit_button("Silence it", type="primary", on_click=send)


def _false(about: Incident) -> None:
    note = form_key(about, "false why")

    def send() -> None:
        body = {"note": st.session_state[note]}
        give(about, f"incidents/{about.id}/false", body, "Marked as no incident")

    with st.popover("No incident", key=form_key(about, "open false")), st.form(form_key(about, "false"), border=False):
        st.caption("What it is like now counts as normal from here on, and pages nobody again.")
        st.text_input("Why", max_chars=500, key=note)
        st.form_submit_button("It is none", type="primary", on_click=send)
