"""Coverage: what Dimwatch can see at all. "Could not look" is not "healthy"."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboard import chosen, covered, parts, queries
from dashboard.queries import View

_LABELS: Final = {
    "tool_result": "results",
    "tool_arguments": "arguments",
    "finish_reason": "finish reason",
    "output_tokens": "tokens",
    "input_messages": "input",
    "output_messages": "output",
    "request_model": "model asked",
    "response_model": "model answered",
    "tool_definitions": "tools offered",
    "first_token": "first token",
    "conversation": "conversation",
}
_LATE: Final = pd.Timedelta(minutes=5)
_CANARY_LATE: Final = pd.Timedelta(minutes=15)


@st.fragment(run_every=parts.SLOW_REFRESH_S)
def _live(first: View) -> None:
    parts.guarded(lambda: _draw(chosen.again(first)))


def _draw(view: View) -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    lost = queries.drops(view)
    canaries = covered.canaries(view)
    _figures(view, lost, canaries)
    st.markdown("#### What agents send, and which rules can see them")
    found = covered.agents(view)
    columns: dict[str, object] = {
        "who": parts.text("agent", 140),
        "conventions": parts.text("conventions", 130),
        "spans": parts.number("spans"),
    }
    if "blind" in found:
        columns["blind"] = st.column_config.ListColumn(
            "blind rules", help="Rules that can not see this agent: what they need is not sent.", width=230
        )
        columns["partly"] = st.column_config.ListColumn(
            "half-blind rules", help="Rules that see only some of what they judge.", width=150
        )
    columns |= {name: parts.share(label) for name, label in _LABELS.items()}
    parts.table(found, columns, empty="No judged span in this time range.")
    st.caption("Shares of the tool calls or model calls that carry it, in the last hour of the time range.")
    left, right = st.columns([7, 5])
    with left:
        _drops(lost)
    with right:
        _canaries(canaries)


def _figures(view: View, lost: pd.DataFrame, canaries: pd.DataFrame) -> None:
    lag = covered.lag(view)
    cards = st.columns(5)
    ages = [
        ("Last span received", lag.received, "Age of the newest span that came in."),
        ("Last run judged", lag.judged, "Since the newest judged run ended. A run is judged some seconds after that."),
        (
            "Last window closed",
            lag.closed,
            "Statistics look at closed windows: a minute is closed when it is complete.",
        ),
    ]
    for card, (label, age, explained) in zip(cards[:3], ages, strict=True):
        late = age is None or age > _LATE
        card.metric(
            label,
            "never" if age is None else parts.ago(age),
            "late" if late else None,
            delta_color="inverse" if late else "off",
            border=True,
            height="stretch",
            help=explained,
        )
    dropped = 0 if lost.empty else int(lost["dropped"].sum())
    cards[3].metric(
        "Dropped",
        f"{dropped:,}",
        border=True,
        height="stretch",
        help="Refused, cut or given up in this time range, by reason below.",
    )
    age = None if canaries.empty else pd.Timestamp(view.until) - pd.to_datetime(canaries["sent_time"], utc=True).iloc[0]
    late = age is not None and age > _CANARY_LATE
    cards[4].metric(
        "Last canary",
        "none" if age is None else parts.ago(max(age, pd.Timedelta(0))),
        "late" if late else None if age is None else f"read after {canaries['took_s'].iloc[0]:.1f} s",
        delta_color="inverse" if late else "off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="A trace that Dimwatch sends to itself, and reads again: when it does not come, Dimwatch is blind.",
    )


def _drops(lost: pd.DataFrame) -> None:
    st.markdown("#### Dropped, by reason")
    if not lost.empty:
        lost = lost.assign(last_seen=parts.local(lost["last_seen"]))
    parts.table(
        lost,
        {
            "reason": parts.text("reason", 190),
            "stage": parts.text("stage", 100),
            "signal": parts.text("signal", 100),
            "dropped": parts.number("dropped"),
            "last_seen": parts.moment("last"),
        },
        empty="Nothing was dropped in this time range.",
    )


def _canaries(found: pd.DataFrame) -> None:
    st.markdown("#### Canary traces")
    if not found.empty:
        found = found.assign(
            sent_time=parts.local(found["sent_time"]), received_time=parts.local(found["received_time"])
        )
    parts.table(
        found,
        {
            "sent_time": parts.moment("sent"),
            "received_time": parts.moment("received"),
            "took_s": parts.seconds("took"),
        },
        empty="No canary was sent in the last day.",
    )


parts.style()
_live(chosen.view(chosen.AGENT, live_s=parts.SLOW_REFRESH_S))
