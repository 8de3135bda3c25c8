"""What a person may do about an incident: acknowledge, silence it or its scope, resolve, call it false."""

from __future__ import annotations

import streamlit as st

from dashboard import sign_in
from dashboard.incidents import Incident
from dashboard.panels import silences
from dashboard.panels.given import LENGTHS_S, give, told


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
                give(person, about, f"incidents/{about.id}/acknowledge", {}, "Acknowledged")
            _silence(person, about)
        silences.begin(person, about)
        if about.open and st.button("Resolve", key=f"resolve {about.id}"):
            give(person, about, f"incidents/{about.id}/resolve", {}, "Resolved")
        if about.status != "false":
            _false(person, about)
        told(person, about)


def _silence(person: sign_in.Person, about: Incident) -> None:
    with st.popover("Silence", key=f"open silence {about.id}"), st.form(f"silence {about.id}", border=False):
        length = st.selectbox("For", list(LENGTHS_S), index=2)
        note = st.text_input("Why", max_chars=500)
        if st.form_submit_button("Silence it", type="primary"):
            body = {"duration_s": LENGTHS_S[length], "note": note}
            give(person, about, f"incidents/{about.id}/silence", body, "Silenced")


def _false(person: sign_in.Person, about: Incident) -> None:
    with st.popover("No incident", key=f"open false {about.id}"), st.form(f"false {about.id}", border=False):
        st.caption("What it is like now counts as normal from here on, and pages nobody again.")
        note = st.text_input("Why", max_chars=500)
        if st.form_submit_button("It is none", type="primary"):
            give(person, about, f"incidents/{about.id}/false", {"note": note}, "Marked as no incident")
