"""Agents: how their runs end, how long they take, what they cost, and what changed about them."""

from __future__ import annotations

from typing import Final

from dashboard import chosen, parts
from dashboard.health import Place
from dashboard.panels.subject import Subject, live

_COLUMNS: Final = {
    "run_failed": "failed",
    "run_degraded": "failed or on bad ground",
    "run_rescued": "rescued",
    "run_looped": "in circles",
    "run_latency": "duration",
    "run_steps": "model calls",
    "run_cost": "cost of a run",
    "run_traffic": "runs a minute",
}
_AGENTS: Final = Subject(
    title="Agents, the sickest first",
    page="agents",
    by=("agent",),
    volume=("run_traffic", "runs"),
    columns=_COLUMNS,
    drawn=(*_COLUMNS, "run_tokens"),
    spread=("run_latency", "run_cost"),
    empty="No run ended in this time range.",
)

parts.style()
_view = chosen.view(chosen.AGENT)
live(_AGENTS, _view, Place(agent=_view.agent))
