"""What a person may do about an incident: acknowledge, silence, resolve, call it false. Orders go to the API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from dashboard import orders, sign_in
from dashboard.incidents import Incident
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import DimwatchError

_CLOCK: Final = SystemClock()
_LOOK_S: Final = 0.7
_PATIENCE_S: Final = 60
_LENGTHS_S: Final = {"30 minutes": 1_800, "1 hour": 3_600, "2 hours": 7_200, "8 hours": 28_800, "1 day": 86_400}
_DONE: Final = {
    "acknowledge": "Acknowledged",
    "silence": "Silenced",
    "resolve": "Resolved",
    "false": "Marked as no incident",
}
_WHY: Final = {
    "over": "it is over already",
    "unknown_incident": "it was over too long ago",
    "repeated": "it was said before",
}


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
                _give(person, about, "acknowledge", {})
            _silence(person, about)
            if st.button("Resolve", key=f"resolve {about.id}"):
                _give(person, about, "resolve", {})
        if about.status != "false":
            _false(person, about)
        _told(person, about)


def _silence(person: sign_in.Person, about: Incident) -> None:
    with st.popover("Silence"), st.form(f"silence {about.id}", border=False):
        length = st.selectbox("For", list(_LENGTHS_S), index=2)
        note = st.text_input("Why", max_chars=500)
        if st.form_submit_button("Silence it", type="primary"):
            _give(person, about, "silence", {"duration_s": _LENGTHS_S[length], "note": note})


def _false(person: sign_in.Person, about: Incident) -> None:
    with st.popover("No incident"), st.form(f"false {about.id}", border=False):
        st.caption("What it is like now counts as normal from here on, and pages nobody again.")
        note = st.text_input("Why", max_chars=500)
        if st.form_submit_button("It is none", type="primary"):
            _give(person, about, "false", {"note": note})


def _give(person: sign_in.Person, about: Incident, action: str, body: Mapping[str, Any]) -> None:
    try:
        order = orders.give(person, about.id, action, body, secrets.token_hex(8))
    except DimwatchError as error:
        st.session_state[_key(about)] = {"action": action, "refused": str(error)}
    else:
        st.session_state[_key(about)] = {"action": action, "order": order, "at": _CLOCK.now_ns()}


def _told(person: sign_in.Person, about: Incident) -> None:
    """What became of the last order; looked at again and again while that is not known."""
    last = st.session_state.get(_key(about))
    if last is None:
        return
    if "order" in last and "outcome" not in last:
        st.fragment(_wait, run_every=_LOOK_S)(person, about)
    else:
        _say(last)


def _wait(person: sign_in.Person, about: Incident) -> None:
    last = st.session_state[_key(about)]
    try:
        found = orders.outcome(person, last["order"])
    except DimwatchError:
        found = "pending"  # it was taken; who looks at it is another question
    waited_s = (_CLOCK.now_ns() - last["at"]) / NS_PER_SECOND
    if found == "pending" and waited_s < _PATIENCE_S:
        st.markdown(f":gray[{_DONE[last['action']]}: taken, and waited for …]")
        return
    last["outcome"] = found
    st.rerun(scope="app")  # the row has changed: all of the page shows it


def _say(last: Mapping[str, Any]) -> None:
    done = _DONE[last["action"]]
    if "refused" in last:
        # Never as Markdown: what others say of themselves is in it.
        st.error("Not taken.", icon=":material/block:")
        st.text(last["refused"])
    elif last["outcome"] == "obeyed":
        st.success(f"{done}.", icon=":material/check:")
    elif last["outcome"] == "pending":
        st.warning(f"{done}: taken, but nobody has looked at it yet. Is the fleet stage running?")
    else:
        st.warning(f"Not obeyed: {_WHY.get(last['outcome'], last['outcome'])}.")


def _key(about: Incident) -> str:
    return f"last order {about.id}"
