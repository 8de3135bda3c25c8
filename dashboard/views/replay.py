"""Replay: what would have paged in a time range, with other settings. The same code as runs live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard import charts, chosen, incidents, parts
from dashboard.queries import View
from dashboard.replays import LINES, REPLAYS, Question, Run
from dashboard.source import source

_RUN: Final = "replayed"
_EVERY_S: Final = 1
_LEARNED: Final = pd.Timedelta(hours=6)
"""With less before the range than that little can be compared."""
_SETTINGS: Final = {
    "false_pages_per_week": ("False pages a week", 0.01, 1000.0, "What the whole fleet may cost in false pages."),
    "margin": ("Margin", 0.0, 10.0, "A failure rate up to this much above normal never pages."),
    "group_margin": ("Margin of groups", 0.0, 10.0, "The same, for series that are watched together."),
    "tolerance": ("Tolerance", 0.0, 10.0, "A latency, speed or size up to this much off never pages."),
    "half_life_h": ("Half-life, hours", 0.1, 720.0, "Memory of what is normal."),
    "guard_h": ("Guard, hours", 0.1, 48.0, "The newest data that do not yet count as normal."),
}
_SEVERITY_COLOURS: Final = {"critical": "#cf4f5f", "warning": "#e8890c", "ticket": "#98a2ad"}


def _settings() -> tuple[tuple[str, float], ...]:
    """Settings that are other than those that run."""
    changed: list[tuple[str, float]] = []
    running = source().settings.detection
    for column, (name, (label, least, most, explained)) in zip(st.columns(6), _SETTINGS.items(), strict=True):
        now = float(getattr(running, name))
        with column:
            value = st.number_input(
                label,
                min_value=least,
                max_value=most,
                value=min(max(now, least), most),
                format="%g",
                key=name,
                bind="query-params",
                help=f"{explained} It runs with {now:g}.",
            )
        if value is not None and value != now:
            changed.append((name, float(value)))
    return tuple(changed)


def _ask(view: View) -> None:
    changes = _settings()
    left, middle, right = st.columns([2, 2, 8], vertical_alignment="center")
    run: Run | None = st.session_state.get(_RUN)
    going = run is not None and run.going
    if left.button("Replay", type="primary", disabled=going, width="stretch", icon=":material/replay:"):
        minute = int(view.until.timestamp()) // 60 * 60
        until = datetime.fromtimestamp(minute, UTC)
        started = REPLAYS.start(Question(until - view.length, until, changes), source().environment)
        if started is None:
            st.warning("Another replay goes on, of somebody else maybe: one at a time. Try again when it is over.")
        else:
            st.session_state[_RUN] = started
            st.rerun()
    if going and run is not None and middle.button("Stop", width="stretch", icon=":material/stop:"):
        run.cancel()
    told = ", ".join(f"{_SETTINGS[name][0].lower()} {value:g}" for name, value in changes)
    right.caption(
        (f"With other settings: {told}." if told else "With the settings that run.")
        + " Reads stored windows, and hours before the range to learn what is normal."
        + " How long windows wait for late runs had its effect when they were made: that can not be changed here."
    )


@st.fragment(run_every=_EVERY_S)
def _follow() -> None:
    """Progress; when it is over, the page is drawn once more without this."""
    run: Run | None = st.session_state.get(_RUN)
    if run is None:
        return
    if not run.going:
        st.rerun()
    share = run.done / run.total if run.total else 0.0
    st.progress(share, text=f"{run.done:,} of {run.total:,} minutes" if run.total else "Starting …")


def _result(run: Run) -> None:
    question = run.question
    if run.problem:
        st.code(run.problem, language=None, wrap_lines=True)
    with_ = [_row(told, told["scope"]) for told in run.incidents]
    actual = source().frame("opened", {"since": question.since, "until": question.until, "rows": LINES})
    were = [_row(told, told) for told in actual.to_dict("records")]
    _, first = incidents.watched(View.of("24h", int(question.until.timestamp() * 1e9), until=question.until))
    if first is None or first > pd.Timestamp(question.since) - _LEARNED:
        st.caption(
            "Windows are stored since "
            + ("never" if first is None else parts.clock(first))
            + ": too little before this range to learn what is normal. A replay of later hours finds more."
        )
    times = f"{parts.clock(pd.Timestamp(question.since))} to {parts.clock(pd.Timestamp(question.until))}"
    st.markdown(f"#### What would have paged, {times}")
    cards = st.columns(4)
    now, then = (sum(one["severity"] != "ticket" for one in rows) for rows in (with_, were))
    cards[0].metric(
        "Pages", f"{now}", f"{now - then:+d} against what was" if now != then else "as it was", delta_color="off",
        delta_arrow="off", border=True, height="stretch", help="Incidents above the severity ticket.",
    )  # fmt: skip
    cards[1].metric("Tickets", f"{len(with_) - now}", border=True, height="stretch")
    cards[2].metric(
        "Pages that were", f"{then}", border=True, height="stretch", help="Opened in that time by the fleet that ran."
    )
    weeks = (question.until - question.since).total_seconds() / (7 * 24 * 3600)
    cards[3].metric(
        "Pages a week", f"{now / weeks:,.1f}", border=True, height="stretch", help="At the rate of this time range."
    )
    rows = [{**one, "which": "replayed"} for one in with_] + [{**one, "which": "as it was"} for one in were]
    if rows:
        end = pd.Timestamp(question.until)
        drawn = pd.DataFrame(rows).assign(end=[one["resolved"] or end for one in rows])
        st.altair_chart(
            charts.incident_bars(drawn, _SEVERITY_COLOURS, question.since, question.until),
            width="stretch",
            alt="Incidents over time, replayed and as it was; the tables below list them",
        )
    left, right = st.columns(2)
    with left:
        _table("Replayed", with_, "Nothing would have been opened.")
    with right:
        _table("As it was", were, "Nothing was opened in that time.", links=True)


def _row(told: dict[Any, Any], scope: dict[Any, Any]) -> dict[str, Any]:
    names = [str(scope.get(name) or "") for name in ("provider", "model", "agent", "tool", "release", "region")]
    resolved = told["resolved_at"]
    return {
        "id": str(told["id"]),
        "severity": str(told["severity"]),
        "kind": str(told["kind"]).replace("_", " "),
        "where": " / ".join(filter(None, names)) or "whole fleet",
        "opened": pd.to_datetime(told["opened_at"], utc=True),
        "resolved": None if resolved is None or pd.isna(resolved) else pd.to_datetime(resolved, utc=True),
        "summary": str(told["summary"]),
    }


def _table(title: str, rows: list[dict[str, Any]], empty: str, links: bool = False) -> None:
    st.markdown(f"#### {title}")
    found = pd.DataFrame(rows)
    columns: dict[str, object] = {
        "opened": parts.moment("opened"),
        "severity": parts.text("severity", 84),
        "kind": parts.text("kind", 120),
        "where": parts.text("where", 170),
        "summary": parts.text("summary", 500),
    }
    if rows:
        found = found.assign(
            opened=parts.local(found["opened"]),
            severity=[parts.SEVERITIES.get(name, name) for name in found["severity"]],
            incident=found["id"].map(parts.incident_url),
        )
        if links:
            columns["incident"] = parts.incident_link()
    parts.table(found, columns, empty=empty)


parts.style()
_view = chosen.view(live_s=None, default="24h")
_ask(_view)
_held: Run | None = st.session_state.get(_RUN)
if _held is None:
    st.caption("Choose a time range and settings, and press Replay: nothing that runs is changed by it.")
elif _held.going:
    _follow()
else:
    _done = _held
    parts.guarded(lambda: _result(_done))
