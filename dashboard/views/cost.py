"""Cost: how fast money is spent, on whom and what, what a success costs, and what faults cost."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import chosen, parts, queries, spending, trends
from dashboard.queries import View
from dashboard.source import soon
from dashboard.spending import Spending

_SLOW: Final = 30


@st.fragment(run_every=_SLOW)
def _live(first: View) -> None:
    parts.guarded(lambda: _draw(chosen.again(first)))


def _draw(view: View) -> None:
    if not queries.any_telemetry():
        parts.no_telemetry()
        return
    told, over_time = soon(spending.spending, view), soon(spending.over_time, view)
    agents, models = soon(spending.by, view, "agent"), soon(spending.models, view)
    users, faults = soon(spending.by, view, "user"), soon(spending.faults, view)
    _figures(told.result())
    st.markdown("#### Spend speed, US dollars an hour")
    drawn = over_time.result()
    if drawn.empty:
        st.caption("Nothing with a known price was spent in this time range.")
    else:
        st.vega_lite_chart(
            trends.spend(drawn, view.since, view.until),
            width="stretch",
            alt="US dollars an hour over time, stacked by agent; the table by agent has the sums",
        )
    left, right = st.columns(2)
    with left:
        _by(agents.result(), "agent", "By agent")
    with right:
        _models(models.result())
    left, right = st.columns(2)
    with left:
        _by(users.result(), "user", "By user")
    with right:
        _faults(faults.result())


def _figures(told: Spending) -> None:
    cards = st.columns(5)
    cards[0].metric(
        "Spend speed",
        f"$ {told.per_hour:,.2f} an hour",
        _off(told.per_hour, told.per_hour_before),
        delta_color="inverse",
        border=True,
        height="stretch",
        help="Against the hours before this time range.",
    )
    unpriced = f" {told.unpriced:,} of {told.runs:,} runs have no known price." if told.unpriced else ""
    cards[1].metric("Spent", f"$ {told.usd:,.2f}", border=True, height="stretch", help="By the price table." + unpriced)
    cards[2].metric(
        "Cost of a success",
        _usd(told.per_success),
        _off(told.per_success, told.per_success_before),
        delta_color="inverse",
        border=True,
        height="stretch",
        help="All that was spent, by the runs that ended well, rescued ones included.",
    )
    cards[3].metric(
        "Spent in vain",
        f"$ {told.vain_usd:,.2f}",
        f"{100 * told.vain_usd / told.usd:.1f} % of it" if told.usd else None,
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="On runs that failed, or that ended well on bad ground.",
    )
    cards[4].metric(
        "Reasoning",
        "unknown" if math.isnan(told.reasoning_share) else f"{100 * told.reasoning_share:.1f} %",
        border=True,
        height="stretch",
        help="Share of the output tokens that was spent on reasoning, as far as providers say.",
    )


def _by(found: pd.DataFrame, dimension: str, title: str) -> None:
    st.markdown(f"#### {title}")
    if not found.empty:
        found["name"] = found["name"].replace("", "(not said)")
        found["per_success"] = ["" if math.isnan(usd) else _usd(usd) for usd in found["per_success"]]
    parts.table(
        found,
        {
            "name": parts.text(dimension, 140),
            "spent_usd": parts.money("cost"),
            "runs": parts.number("runs"),
            "per_success": parts.text("a success", 84, "Cost by runs that ended well."),
            "vain": parts.share("in vain", "Share that went to runs that failed or ended on bad ground.", 0.5),
            "reasoning_share": parts.share("reasoning", "Share of the output tokens.", 1.0),
        },
        empty="No finished run in this time range.",
    )


def _models(found: pd.DataFrame) -> None:
    st.markdown("#### By model")
    if not found.empty:
        output = found["output"].where(found["output"] > 0)
        found = found.assign(
            reasoning_share=found["reasoning"] / output,
            cached_share=found["cached"] / found["input"].where(found["input"] > 0),
        )
    parts.table(
        found,
        {
            "model": parts.text("model", 150),
            "provider": parts.text("provider", 90),
            "cost_usd": parts.money("cost"),
            "calls": parts.number("calls"),
            "input": parts.number("tokens in"),
            "output": parts.number("tokens out"),
            "cached_share": parts.share("cached", "Share of the input tokens that came from a cache."),
            "reasoning_share": parts.share("reasoning", "Share of the output tokens."),
            "failed_usd": parts.money("on failed calls"),
        },
        empty="No model call in this time range.",
    )


def _faults(found: pd.DataFrame) -> None:
    st.markdown("#### What faults cost")
    parts.table(
        found,
        {
            "rule": parts.text("fault", 150),
            "hit": parts.number("runs"),
            "spent_usd": parts.money("cost"),
            "extra_usd": parts.money("extra", "More than clean runs of the same agents cost."),
            "vain_usd": parts.money("in vain", "Of runs that failed, or ended well on bad ground."),
        },
        empty="No run had a fault in this time range.",
    )
    st.caption("A run with several faults counts for each of them.")


def _off(now: float, before: float) -> str | None:
    if math.isnan(now) or math.isnan(before) or before <= 0:
        return None
    return f"{100 * (now / before - 1):+.0f} %"


def _usd(value: float) -> str:
    return "unknown" if math.isnan(value) else f"$ {value:,.4f}" if value < 1 else f"$ {value:,.2f}"


parts.style()
_live(chosen.view(chosen.AGENT, live_s=_SLOW))
