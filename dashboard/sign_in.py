"""Who looks at the dashboard, and what they may do: checked by every page, and again by everything that acts."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

import streamlit as st

from dashboard.source import source
from dimwatch.client import ApiClient, api_url
from dimwatch.errors import PermanentError, RetryableError
from dimwatch.settings import Dashboard, Settings
from dimwatch.store.access import is_loopback

_KEPT: Final = "signed in"
_MAIL: Final = re.compile(r"[!-~]{3,200}")
"""What the API takes as a name."""
_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may look."""

    name: str
    """What is written down as who did it."""
    acts: bool
    """Whether they may give orders about incidents."""
    token: str = ""
    """Their own, of the API; "" where the dashboard asks on their behalf."""


def required() -> Person:
    """Who this is. Where nobody has signed in, and must, the page ends here with a way to do so."""
    found = person()
    settings = source().settings
    if found is None:
        if settings.dashboard.sign_in == "oidc":
            _offer_oidc()
        else:
            _offer_token(settings)
        st.stop()
    if settings.dashboard.sign_in != "none":
        with st.sidebar:
            st.text(found.name)
            st.button("Sign out", on_click=_sign_out)
    return found


def person() -> Person | None:
    """Who this is, None while nobody has signed in who may look."""
    settings = source().settings
    match settings.dashboard.sign_in:
        case "oidc":
            return by_mail(st.user.to_dict(), settings.dashboard) if st.user.is_logged_in else None
        case "token":
            kept: Person | None = st.session_state.get(_KEPT)
            return kept
        case _:
            return anybody(settings.dashboard.host, st.context.headers.to_dict())


def anybody(host: str, headers: Mapping[str, str]) -> Person:
    """Without sign-in: who sits at this machine may act, whoever comes from elsewhere, by a proxy say, may look."""
    lower = {name.lower(): value for name, value in headers.items()}
    asked = lower.get("host", "")
    asked = asked.rsplit(":", 1)[0] if not asked.endswith("]") else asked
    # A proxy may put its own name there and say nothing of itself; the browser still says whose page it shows.
    page = urlsplit(lower["origin"]).hostname or "" if "origin" in lower else asked
    here = all(map(is_loopback, (host, asked, page))) and not any(name in lower for name in _FORWARDED)
    return Person(getpass.getuser() if here else "", acts=here)


def by_mail(claims: Mapping[str, object], settings: Dashboard) -> Person | None:
    """Whom the provider says that it is: None for who may not look. An address that the provider does not say to have
    verified is none: with some, people write there what they like."""
    mail = str(claims.get("email") or "").lower()
    if not _MAIL.fullmatch(mail) or claims.get("email_verified") not in (True, "true"):
        return None
    acts = any(fnmatchcase(mail, pattern) for pattern in settings.responders)
    looks = not settings.viewers or any(fnmatchcase(mail, pattern) for pattern in settings.viewers)
    return Person(mail, acts) if acts or looks else None


def _sign_out() -> None:
    if source().settings.dashboard.sign_in == "oidc":
        st.logout()
    st.session_state.pop(_KEPT, None)


def _offer_oidc() -> None:
    with st.container(border=True):
        if st.user.is_logged_in:
            st.markdown("#### You may not look at this")
            st.caption(
                "Whoever runs Dimwatch adds you to `dashboard.viewers` or `dashboard.responders`. Your provider must "
                "say that it has verified your mail address (`email_verified`)."
            )
            st.button("Sign out", on_click=_sign_out)
            return
        st.markdown("#### Sign in")
        st.caption("Incidents and traces are for those who may see them.")
        st.button("Sign in", type="primary", on_click=st.login)


def _offer_token(settings: Settings) -> None:
    with st.form("sign in"):
        st.markdown("#### Sign in")
        token = st.text_input("Token of a viewer or responder", type="password", max_chars=500)
        if not st.form_submit_button("Sign in", type="primary") or not token:
            return
    try:
        st.session_state[_KEPT] = of_token(settings, token)
    except PermanentError:
        st.error("This token is not known.")
    except RetryableError:
        st.error("The API does not answer, which knows the tokens. Try again.")
    else:
        st.rerun()


def of_token(settings: Settings, token: str) -> Person:
    """Whose token it is. Raises PermanentError for nobody's, RetryableError while the API does not answer."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PermanentError("no token looks like that")
    api = ApiClient(api_url(settings.api), token)
    try:
        told = api.get("me")
    finally:
        api.close()
    return Person(str(told["name"]), told["role"] == "responder", token)
