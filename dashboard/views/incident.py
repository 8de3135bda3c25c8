"""Incident: what is wrong, where, since when, whom it hits, what may be behind it, and traces that show it."""

from __future__ import annotations

import re
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import charts, incidents, parts
from dashboard.incidents import SCOPE, Incident, Measure
from dashboard.panels import actions, deliveries, detail, silences
from dashboard.panels.incidents import badges
from dimwatch.clock import NS_PER_SECOND, SystemClock

_CLOCK: Final = SystemClock()
_INCIDENT_ID: Final = re.compile(r"[0-9a-f]{8,64}")


def _asked() -> str:
    """The id in the address or typed by hand."""
    typed = st.text_input(
        "Incident id", key="id", bind="query-params", placeholder="incident id, hex digits", max_chars=64
    )
    return (typed or "").strip().lower()


def _head(about: Incident, now: pd.Timestamp) -> None:
    badges(about)
    st.text(about.summary)
    length = parts.lasting(about.until(now) - about.started)
    cards = st.columns(5)
    cards[0].metric("Began", parts.clock(about.started, now), border=True, help="Estimated from the signals.")
    found = about.opened - about.started
    cards[1].metric(
        "Opened", parts.clock(about.opened, now), border=True, help=f"{parts.lasting(found)} after it began."
    )
    if about.resolved is None:
        cards[2].metric("Still open", length, border=True, help="Since it began.")
    else:
        cards[2].metric("Over", parts.clock(about.resolved, now), border=True, help=f"It lasted {length}.")
    cards[3].metric("Runs hit", f"{about.runs:,.0f}", border=True, help="Runs that had to do with it so far.")
    cards[4].metric("Cost", f"$ {about.cost_usd:,.2f}", border=True, help="What those runs cost.")


def _scope(about: Incident) -> None:
    st.markdown("#### Where")
    values = {name: about.scope[name] or "all" for name in SCOPE}
    if about.tenant:
        values = {"tenant": about.tenant, **values}
    st.dataframe(pd.DataFrame([values]), hide_index=True, row_height=28)


def _chosen(about: Incident) -> Measure | None:
    """The signal that is drawn: the leading one, unless the person picks another."""
    measures = {measure.signal: measure for measure in about.drawable}
    if not measures:
        return None
    picked = st.selectbox(
        "Signal",
        list(measures),
        format_func=lambda signal: measures[signal].shown.label,
        label_visibility="collapsed",
        key=f"signal {about.id}",
    )
    return measures.get(picked or "", about.drawable[0])


def _timeline(about: Incident, measure: Measure, names: list[str], changed: pd.DataFrame, now: pd.Timestamp) -> None:
    told = incidents.timeline(about, measure, names, now)
    if told.data.empty:
        st.caption("The windows of this signal are no longer kept, or were never filled.")
        return
    st.altair_chart(
        charts.timeline(told, _marks(about, changed)),
        width="stretch",
        alt=f"{told.shown.label} over time, usually {told.shown.text(told.usual)}; changes are in the table below",
    )
    tail = f"Drawn: the {told.shown.label} that one of twenty exceeds. " if measure.shown.drawn else ""
    st.caption(
        f"{tail}Band: nine of ten points in the three hours before it began; dashed: what that time comes to together. "
        "Triangles: changes of the agents concerned."
    )


def _marks(about: Incident, changed: pd.DataFrame) -> pd.DataFrame:
    """Onset, opening, end, and changes, several agents' same change as one."""
    moments = [(about.started, "began"), (about.opened, "opened"), (about.resolved, "resolved")]
    rows = [{"time": time, "kind": kind, "label": kind, "detail": ""} for time, kind in moments if time is not None]
    if not changed.empty:
        same = ["time", "attribute", "key", "before", "after"]
        for (time, attribute, key, before, after), group in changed.groupby(same, sort=True):
            rows.append(
                {
                    "time": time,
                    "kind": "change",
                    "label": detail.sentence(str(attribute), str(key), str(before), str(after)),
                    "detail": ", ".join(sorted(set(group["agent"]))),
                }
            )
    return pd.DataFrame(rows)


def _causes(about: Incident) -> None:
    st.markdown("#### What may be behind it, likeliest first")
    causes = [cause for cause in about.causes if float(cause.get("evidence", 0.0)) > 0]  # type: ignore[arg-type]
    rows = pd.DataFrame(
        {
            "what": [str(cause.get("what", "")) for cause in causes],
            "type": [str(cause.get("type", "")) for cause in causes],
            "fit": [float(cause.get("evidence", 0.0)) for cause in causes],  # type: ignore[arg-type]
            "at": [parts.clock(pd.Timestamp(str(cause["at"]))) if "at" in cause else "" for cause in causes],
        }
    )
    columns = {
        "what": parts.text("what", 430),
        "fit": parts.share("fit", "How well it fits: a rank, not a probability."),
        "at": parts.text("at", 96),
        "type": parts.text("type", 84),
    }
    parts.table(rows, columns, empty="Nothing stands out.")


def _signals(about: Incident) -> None:
    st.markdown("#### What was measured")
    measures = sorted(about.measures, key=lambda m: not m.direct)
    rows = pd.DataFrame(
        {
            "signal": [m.shown.label for m in measures],
            "usual": [m.shown.text(m.expected) for m in measures],
            "observed": [m.shown.text(m.observed) for m in measures],
            "evidence": [m.evidence for m in measures],
            "n": [m.n for m in measures],
            "since": parts.local(pd.Series([m.since for m in measures], dtype=object)),
            "part": ["itself" if m.direct else "consequence" for m in measures],
        }
    )
    columns = {
        "signal": parts.text("signal", 205),
        "usual": parts.text("usual", 88),
        "observed": parts.text("observed", 88),
        "evidence": parts.number("evidence", 'Nats: the logarithm of how much better "worse" explains it.', "%.0f"),
        "part": parts.text("part", 88),
        "n": parts.number("of", "Calls, runs or measurements since then."),
        "since": parts.moment("since"),
    }
    parts.table(rows, columns, empty="Nothing was measured.")


def _agents(found: pd.DataFrame) -> None:
    st.markdown("#### Agents within its scope, while it went on")
    if not found.empty:
        found = found.assign(
            failed=found["failed"] / found["runs"].where(found["runs"] > 0),
            rescued=found["rescued"] / found["runs"].where(found["runs"] > 0),
        )
    columns = {
        "agent": parts.text("agent", 180),
        "runs": parts.number("runs"),
        "failed": parts.share("failed", "Share of its runs that failed.", 0.5),
        "rescued": parts.share("rescued", "Share of its runs that a retry or another model saved.", 0.5),
        "spent_usd": parts.money("cost"),
    }
    parts.table(found, columns, empty="No agent ran.")


def _examples(about: Incident, measure: Measure, names: list[str], now: pd.Timestamp) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("#### Traces that show it")
        none = (
            "Runs that do not come leave no trace."
            if measure.signal == "run_traffic"
            else "None is kept from that time."
        )
        found = incidents.bad_examples(about, measure, names, now)
        if not found.empty:
            st.link_button(
                "Look at the clearest one", parts.trace_url(found["trace_id"].iloc[0]), icon=":material/account_tree:"
            )
        _traces(found, measure, none)
    with right:
        st.markdown("#### Traces as they were before")
        _traces(incidents.good_examples(about, measure, names, now), measure, "None is kept from that time.")


def _traces(found: pd.DataFrame, measure: Measure, none: str) -> None:
    columns = {
        "trace": parts.trace_link(),
        "at": parts.moment("time"),
        "who": parts.text("agent", 140),
    }
    if not found.empty:
        found = found.assign(trace=found["trace_id"].map(parts.trace_url), at=parts.local(found["at"]))
        if "said" in found:
            columns["said"] = parts.text("what was found", 420)
        elif measure.shown.form != "hits":
            found["value"] = [measure.shown.text(value) for value in found["value"]]
            columns["value"] = parts.text(measure.shown.label, 160)
    parts.table(found, columns, empty=none)


@st.fragment(run_every=parts.SLOW_REFRESH_S)
def _live(incident_id: str) -> None:
    parts.guarded(lambda: _draw(incident_id))


def _draw(incident_id: str) -> None:
    about = incidents.incident(incident_id)
    if about is None:
        st.caption("No such incident. It may have a typing error, or be older than the store keeps incidents.")
        return
    now = pd.Timestamp(_CLOCK.now_ns() // NS_PER_SECOND, unit="s", tz="UTC")
    _head(about, now)
    actions.panel(about)
    hit = incidents.agents(about, now)
    names = list(hit["agent"]) if not hit.empty else []
    changed = incidents.changes(about, names, now)
    measure = _chosen(about)
    if measure is not None:
        _timeline(about, measure, names, changed, now)
    else:
        st.caption("Windows have no signal to draw for it: what was measured, and what changed, is below.")
    left, right = st.columns(2)
    with left:
        _causes(about)
        _scope(about)
        _agents(hit)
    with right:
        _signals(about)
        detail.changes(changed, "What changed around it")
    if measure is not None:
        _examples(about, measure, names, now)
    silences.lasting(about, now)
    deliveries.draw(incident_id)


parts.style()
_incident_id = _asked()
if _INCIDENT_ID.fullmatch(_incident_id):
    _live(_incident_id)
elif _incident_id:
    st.caption("An incident id is made of hexadecimal digits.")
else:
    st.caption("Follow a link from the incidents on the page Now, or paste an incident id.")
