"""Orders that somebody gives on the page of an incident, and what becomes of the last one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from dashboard import orders, sign_in
from dashboard.incidents import Incident
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import DimwatchError, PermanentError

LENGTHS_S: Final = {"30 minutes": 1_800, "1 hour": 3_600, "2 hours": 7_200, "8 hours": 28_800, "1 day": 86_400}
"""How long a silence may last."""
_CLOCK: Final = SystemClock()
_LOOK_S: Final = 0.7
_PATIENCE_S: Final = 60
_WHY: Final = {
    "over": "it is over already",
    "unknown_incident": "it was over too long ago",
    "unknown_silence": "that silence has ended",
    "too_many_silences": "there are too many silences: end one first",
    "repeated": "it was said before",
}


def give(about: Incident, path: str, body: Mapping[str, Any] | None, done: str, method: str = "POST") -> None:
    """Give an order, in the name of who is signed in now. `done`: what to say once it is obeyed."""
    try:
        person = sign_in.person()
        if person is None:
            raise PermanentError("nobody is signed in any more")
        order = orders.give(person, path, body, secrets.token_hex(8), method)
    except DimwatchError as error:
        st.session_state[_key(about)] = {"done": done, "refused": str(error)}
    else:
        st.session_state[_key(about)] = {"done": done, "order": order, "at": _CLOCK.now_ns()}
        st.session_state[_taken(about)] = st.session_state.get(_taken(about), 0) + 1


def form_key(about: Incident, what: str) -> str:
    """The key of a form or of something in it: another one as soon as an order is taken, so that forms close and are
    empty again."""
    return f"{what} {about.id} {st.session_state.get(_taken(about), 0)}"


def told(person: sign_in.Person, about: Incident) -> None:
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
        st.markdown(f":gray[{last['done']}: taken, and waited for …]")
        return
    last["outcome"] = found
    st.rerun(scope="app")  # the row has changed: all of the page shows it


def _say(last: Mapping[str, Any]) -> None:
    done = last["done"]
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


def _taken(about: Incident) -> str:
    return f"orders taken {about.id}"
