"""What a person chose to look at: time range and filters. All of it is in the address, alike on every page, so that it
can be shared and stays when the page is changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import parts, queries
from dashboard.queries import RANGES, View
from dashboard.source import soon
from dimwatch.clock import SystemClock

_CLOCK: Final = SystemClock()
_DEFAULT_RANGE: Final = "1h"
_PAGE: Final = "page that is open"
_KEPT: Final = "chosen on the last page"
_LONGEST: Final = 200
"""Of what somebody may type, in characters."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice beside the time range, with the name `key` in the address; "" is all."""

    key: str
    everything: str
    """What no choice is called."""
    names: Callable[[View], Sequence[str]]


AGENT: Final = Filter("agent", "all agents", queries.agent_names)


def view(*filters: Filter, live_s: int | None = parts.REFRESH_S, default: str = _DEFAULT_RANGE) -> View:
    """Draw the bar at the top of a page; return what it says. `live_s`: how often the page is drawn anew."""
    ends = _moment(_held("until"))
    columns = st.columns([5, 2, *(2 for _ in filters), max(5 - len(filters), 3)], vertical_alignment="center")
    with columns[0]:
        chosen = (
            st.segmented_control(
                "Time range",
                list(RANGES),
                default=default,
                required=True,
                key="range",
                bind="query-params",
                label_visibility="collapsed",
            )
            or default
        )
    with columns[1]:
        st.text_input(
            "End of the time range",
            key="until",
            bind="query-params",
            placeholder="until now",
            max_chars=40,
            label_visibility="collapsed",
            on_change=_in_utc,
            help="Empty: now. Else a date and time of yours, as `2026-01-31 12:00`, or only a time of today.",
        )
    now_ns = _CLOCK.now_ns()
    looked = View.of(chosen, now_ns, until=ends)
    names = [soon(one.names, looked) for one in filters]
    with columns[-1]:  # before the filters, whose names are waited for
        st.caption(_told(looked, live_s), text_alignment="right")
    picked: dict[str, str] = {}
    for column, one, found in zip(columns[2:], filters, names, strict=False):
        with column:
            picked[one.key] = _option(one, found)
    told = {"range": "" if chosen == default else chosen, "until": _held("until"), "agent": picked.get("agent", "")}
    st.session_state[_KEPT] = {**st.session_state.get(_KEPT, {}), **told}
    return replace(looked, agent=picked.pop("agent", ""), picked=picked)


def carried(page: str) -> dict[str, str]:
    """What was chosen on the page before, when somebody has just come to this one by the menu, which drops it from the
    address. Empty otherwise."""
    came = st.session_state.get(_PAGE, page) != page
    st.session_state[_PAGE] = page
    kept: dict[str, str] = st.session_state.get(_KEPT, {})
    return {name: value for name, value in kept.items() if value} if came and not st.query_params else {}


def again(chosen: View) -> View:
    """The same view a while later: a range that ends now has moved on."""
    return chosen if chosen.fixed else chosen.moved_to(_CLOCK.now_ns())


def _option(one: Filter, names: Future[Sequence[str]]) -> str:
    options = [""]
    parts.guarded(lambda: options.extend(names.result()))
    if (current := _held(one.key)) not in options:
        options.append(current)
    picked = st.selectbox(
        one.key.capitalize(),
        options,
        key=one.key,
        bind="query-params",
        format_func=lambda name: name or one.everything,
        label_visibility="collapsed",
    )
    return picked or ""


def words(key: str, placeholder: str, help: str = "") -> str:
    """A text to search for, with the name `key` in the address."""
    typed = st.text_input(
        key.capitalize(),
        key=key,
        bind="query-params",
        placeholder=placeholder,
        max_chars=_LONGEST,
        label_visibility="collapsed",
        help=help or None,
    )
    return (typed or "").strip()


def _held(key: str) -> str:
    """What a widget of that name holds now, or will hold by the address."""
    return str(st.session_state.get(key) or st.query_params.get(key, ""))[:_LONGEST]


def _in_utc() -> None:
    """Write a time that was typed in the person's zone as UTC: the address means the same to everybody."""
    typed = str(st.session_state.get("until") or "").strip()
    told = _moment(typed)
    st.session_state["until"] = "" if told is None else f"{told:%Y-%m-%dT%H:%MZ}"


def _moment(typed: str) -> pd.Timestamp | None:
    """A moment that was typed or is in the address; None for none, and for what is no time."""
    if not typed:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        zone = parts.zone()
        today = parts.local(pd.Series([pd.Timestamp(_CLOCK.now_ns(), tz="UTC")])).iloc[0]
        text = f"{today:%Y-%m-%d} {typed}" if len(typed) <= len("12:34:56") else typed
        told = pd.Timestamp(text)
        told = told.tz_localize(zone) if told.tzinfo is None else told
        return told.tz_convert("UTC")
    return None


def _told(looked: View, live_s: int | None) -> str:
    since, until = pd.Timestamp(looked.since), pd.Timestamp(looked.until)
    live = f" · refreshed every {live_s} s" if live_s and not looked.fixed else ""
    return f"{parts.clock(since)} to {parts.clock(until, since)} ({parts.zone()}){live}"
