"""What runs cost: over time, for whom, by which model, and what of it was in vain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pandas as pd

from dashboard.queries import View
from dashboard.source import source

ROWS: Final = 100
_DRAWN: Final = 6
"""So many agents have a colour of their own; the others share one."""
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Spending:
    """All of the time range. US dollars; NaN where there is nothing to divide by."""

    usd: float
    per_hour: float
    per_hour_before: float
    per_success: float
    per_success_before: float
    vain_usd: float
    """Of runs that failed, or ended well on bad ground."""
    reasoning_share: float
    """Of the output tokens; NaN where nobody says how many were of reasoning."""
    runs: int
    unpriced: int


def spending(view: View) -> Spending:
    """What was spent, and what was before."""
    row = _spend(view, "", 1).iloc[0]
    first = min(max(pd.Timestamp(row["first_seen"], tz="UTC"), pd.Timestamp(view.before)), pd.Timestamp(view.since))
    hours_before = (view.since - first) / pd.Timedelta(hours=1)
    return Spending(
        usd=row["spent_usd"],
        per_hour=row["spent_usd"] / (view.minutes / 60),
        per_hour_before=_ratio(row["spent_usd_before"], hours_before),
        per_success=_ratio(row["spent_usd"], row["good_runs"]),
        per_success_before=_ratio(row["spent_usd_before"], row["good_runs_before"]),
        vain_usd=row["vain_usd"],
        reasoning_share=_ratio(row["reasoning"], row["output"]) or math.nan,
        runs=int(row["runs"]),
        unpriced=int(row["unpriced"]),
    )


def by(view: View, dimension: str) -> pd.DataFrame:
    """By `agent` or `user`, with cost of a success, shares in vain and of reasoning; NaN where there is none."""
    found = _spend(view, dimension, ROWS)
    if found.empty:
        return found
    return found.assign(
        per_success=found["spent_usd"] / found["good_runs"].where(found["good_runs"] > 0),
        vain=found["vain_usd"] / found["spent_usd"].where(found["spent_usd"] > 0),
        reasoning_share=found["reasoning"].where(found["reasoning"] > 0) / found["output"],
    )


def models(view: View) -> pd.DataFrame:
    """By provider and model: calls, cost, tokens."""
    return source().frame("model_spend", view.values())


def over_time(view: View) -> pd.DataFrame:
    """US dollars an hour by agent, in steps: time, end, agent, rate. The smaller agents are one."""
    found = source().frame("spend_over_time", view.values(step=int(view.step.total_seconds())))
    if found.empty:
        return found
    largest = found.groupby("agent")["spent_usd"].sum().nlargest(_DRAWN).index
    found["agent"] = found["agent"].where(found["agent"].isin(largest), OTHERS)
    found = found.groupby(["time", "agent"])["spent_usd"].sum().reset_index()
    hours = view.step.total_seconds() / 3600
    time = pd.to_datetime(found["time"], utc=True)
    return found.assign(time=time, end=time + view.step, rate=found["spent_usd"] / hours)


def faults(view: View) -> pd.DataFrame:
    """By rule: runs, what they cost, what of that is more than usual, and what was in vain."""
    return source().frame("fault_costs", view.values())


def _spend(view: View, dimension: str, rows: int) -> pd.DataFrame:
    return source().frame("spend", view.values(before=view.before, dimension=dimension, rows=rows))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
