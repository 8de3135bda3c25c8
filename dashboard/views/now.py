"""Now: which incidents are open, what is failing, how much of it looks green, and where."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import chosen, parts, queries, trends
from dashboard.panels import incidents, weather
from dashboard.queries import View
from dashboard.source import soon, source


def _change(now: float, before: float, traces_before: float) -> str | None:
    """The difference of two ratios in points, if there was anything before."""
    return f"{100 * (now - before):+.1f} pts" if traces_before else None


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _figures(view: View, now: pd.Series, paged: pd.Series) -> None:
    traces, before = now["traces"], now["traces_before"]
    cards = st.columns(6)
    ratios = [
        ("Green but failed", "green", "Traces that reported no error and yet failed, or finished on bad ground."),
        ("Failed in truth", "failed", "Traces that failed or finished on bad ground, whatever they reported."),
        ("Reported errors", "reported_errors", "Traces that reported an error themselves: what other monitors see."),
    ]
    for card, (label, column, explained) in zip(cards[:3], ratios, strict=True):
        share, share_before = _ratio(now[column], traces), _ratio(now[f"{column}_before"], before)
        card.metric(
            label,
            f"{100 * share:.1f} %",
            _change(share, share_before, before),
            delta_color="inverse",
            border=True,
            height="stretch",
            help=explained + " Compared with the range just before.",
        )
    per_minute = traces / view.minutes
    cards[3].metric(
        "Traces a minute",
        f"{per_minute:,.1f}",
        f"{100 * (_ratio(traces, before) - 1):+.0f} %" if before else None,
        delta_color="off",
        border=True,
        height="stretch",
        help="Finished traces.",
    )
    unpriced = f" {now['unpriced']:,} traces used a model without a known price." if now["unpriced"] else ""
    cards[4].metric(
        "Cost",
        f"$ {now['spent_usd']:,.2f}",
        f"$ {now['spent_usd'] - now['spent_usd_before']:+,.2f}" if before else None,
        delta_color="off",
        border=True,
        height="stretch",
        help=f"By the price table, for {now['tokens'] / 1e6:,.2f} M tokens.{unpriced}",
    )
    _pages(cards[5], paged)


def _pages(card: DeltaGenerator, told: pd.Series) -> None:
    """Pages of the week against what false ones may be."""
    budget = source().settings.detection.false_pages_per_week
    over = told["false_pages"] > budget
    lost = f" {told['given_up']:,} messages could not be delivered." if told["given_up"] else ""
    card.metric(
        "Pages this week",
        f"{told['pages']:,}",
        f"{told['false_pages']:,} false of {budget:g} allowed",
        delta_color="inverse" if over or told["given_up"] else "off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help=f"Incidents above the severity ticket in seven days; {told['delivered']:,} messages were delivered.{lost} "
        "False: somebody called it so.",
    )


def _trends(view: View, counts: pd.DataFrame) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("#### Share of traces that failed")
        st.vega_lite_chart(
            trends.shares(counts, view.since, view.until),
            width="stretch",
            alt="Share of runs over time that failed: those that look green, and those that say so",
        )
    with right:
        st.markdown("#### Traces a minute")
        st.vega_lite_chart(
            trends.volume(counts, view.step, view.since, view.until),
            width="stretch",
            alt="Runs a minute over time by what became of them",
        )


def _findings(by_rule: pd.DataFrame, latest: pd.DataFrame) -> None:
    left, right = st.columns([4, 10])
    with left:
        st.markdown("#### Findings by rule, last 15 minutes")
        if not by_rule.empty:
            by_rule["worst"] = by_rule["worst"].map(parts.SEVERITIES)
        parts.table(
            by_rule,
            {
                "rule": parts.text("rule", 150),
                "worst": parts.text("worst", 84),
                "recent": parts.number("15 min", format="localized"),
                "usual": parts.number("usual", "Per 15 minutes in the hour before.", format="%.1f"),
            },
            empty="Nothing found in the last 75 minutes.",
        )
    with right:
        st.markdown("#### Latest findings")
        if not latest.empty:
            latest["severity"] = latest["severity"].map(parts.SEVERITIES)
            latest["trace"] = latest["trace_id"].map(parts.trace_url)
            latest["time"] = parts.local(latest["time"])
        parts.table(
            latest,
            {
                "time": parts.moment("time"),
                "severity": parts.text("severity", 84),
                "rule": parts.text("rule", 140),
                "agent": parts.text("agent", 130),
                "trace": parts.trace_link(),
                "summary": parts.text("summary", 420),
                "tool": parts.text("tool", 120),
                "model": parts.text("model", 130),
            },
            empty="Nothing found in this time range.",
        )


def _agents_table(found: pd.DataFrame) -> None:
    st.markdown("#### Agents")
    if not found.empty:
        found["agent"] = found["agent"].replace("", "(not named)")
        found["last_seen"] = parts.local(found["last_seen"])
        found["open"] = [f"/agents?{parts.query({'agent': name})}" for name in found["agent"]]
    parts.table(
        found,
        {
            "agent": parts.text("agent", 160),
            "service": parts.text("service", 150),
            "runs": parts.number("runs"),
            "failure_rate": parts.share("failed", "Effective failure rate.", 0.5),
            "green": parts.number("green but failed", "Runs that failed and reported no error."),
            "reported_rate": parts.share("reported", "Share that reported an error itself.", 0.5),
            "rescued_rate": parts.share("rescued", "Share saved by a retry or another model.", 0.5),
            "p50_s": parts.seconds("p50"),
            "p95_s": parts.seconds("p95"),
            "tokens": parts.number("tokens"),
            "cost_usd": parts.money("cost"),
            "last_seen": parts.moment("last run"),
            "open": parts.link("more"),
        },
        empty="No finished trace in this time range.",
    )


parts.style()
_chosen = chosen.view(chosen.AGENT)


@st.fragment(run_every=parts.REFRESH_S)
def _live() -> None:
    parts.guarded(_draw)


def _draw() -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    view = chosen.again(_chosen)
    over_time, totals, pages = soon(queries.over_time, view), soon(queries.totals, view), soon(queries.pages, view)
    agents, rules, latest = soon(queries.agents, view), soon(queries.rules, view), soon(queries.findings, view)
    models = soon(weather.asked, view)
    incidents.draw(view)
    _figures(view, totals.result(), pages.result())
    _trends(view, over_time.result())
    weather.draw(view, models.result())
    _agents_table(agents.result())
    _findings(rules.result(), latest.result())


_live()
