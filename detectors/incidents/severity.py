"""Blast radius: how many runs, users and how much money an incident concerns, and what severity that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from detectors.alerts import Node
from detectors.incidents.case import Case
from detectors.incidents.grouping import Agents
from detectors.incidents.incident import Incident, Kind, Measure, Severity
from detectors.incidents.inputs import View
from detectors.incidents.kinds import leading
from detectors.windows.signals import BY_NAME, Form, Subject

WIDE: Final = 0.25
"""From this share of the fleet's runs or users on, what stops runs is critical."""
MOST: Final = 0.5
"""From this share on, anything that makes runs fail is."""

_CALLS: Final = {Subject.MODEL: "model_error", Subject.TOOL: "tool_error"}
"""Signals that every call is a trial of."""
_RUNS: Final = "run_traffic"
_SPEND: Final = "run_spend"
_COLUMNS: Final = ("tenant", "agent", "provider", "model", "tool", "release", "region", "signal", "n", "total")


@dataclass(frozen=True, slots=True)
class Burden:
    """What an incident was part of in one minute."""

    runs: float
    cost_usd: float
    part: float
    """Of the runs of its agents; of those that do not come, over all minutes that its measure tells of: one minute
    without a run says nothing of an agent with few of them."""
    share: float
    """Of all runs of the fleet."""


class Traffic:
    """Runs, calls and spending of one minute, for the few incidents that are open."""

    def __init__(self, points: pa.Table) -> None:
        wanted = pa.array([*_CALLS.values(), _RUNS, _SPEND])
        rows = points.filter(pc.is_in(points["signal"], wanted)).select(_COLUMNS).to_pylist()
        self.fleet_runs = 0.0
        self.runs: dict[tuple[str, str], float] = {}
        self.spend: dict[tuple[str, str], float] = {}
        self._calls: list[tuple[str, Mapping[str, str], tuple[str, str], float]] = []
        for row in rows:
            agent, signal = (row["tenant"], row["agent"]), row["signal"]
            if signal == _RUNS:
                self.runs[agent] = self.runs.get(agent, 0.0) + row["n"]
                self.fleet_runs += row["n"]
            elif signal == _SPEND:
                self.spend[agent] = self.spend.get(agent, 0.0) + row["total"]
            else:
                self._calls.append((signal, row, agent, row["n"]))

    def burden(self, case: Case) -> Burden:
        """What an incident was part of in this minute."""
        runs = sum(self.runs.get(agent, 0.0) for agent in case.agents)
        spend = sum(self.spend.get(agent, 0.0) for agent in case.agents)
        lead = lead_of(case)
        if lead is None:
            return Burden(0.0, 0.0, 0.0, runs / self.fleet_runs if self.fleet_runs else 0.0)
        signal = BY_NAME[lead.signal]
        fleet = self.fleet_runs
        if signal.form is Form.EVENTS:
            affected = max(lead.expected - runs, 0.0)
            fleet += affected
            part = max(lead.expected - lead.observed, 0.0) / lead.expected if lead.expected else 0.0
        else:
            inside, whole = self._calls_in(signal.subject, case.incident.scope, case.agents)
            if signal.form is Form.HITS:
                trials = inside if signal.subject in _CALLS else runs
                affected = min(max(lead.observed - lead.expected, 0.0) * trials, runs)
            else:
                affected = runs * (inside / whole if whole else 1.0)
            part = affected / runs if runs else 0.0
        cost = _too_much(case, lead, spend * affected / runs if runs else 0.0)
        return Burden(affected, cost, part, affected / fleet if fleet else 0.0)

    def _calls_in(self, subject: Subject, scope: Node, agents: Agents) -> tuple[float, float]:
        """Calls within a scope, and all calls of its agents."""
        inside = whole = 0.0
        for signal, row, agent, n in self._calls:
            if signal == _CALLS.get(subject) and agent in agents:
                whole += n
                inside += n * all(row[name] == value for name, value in scope.of)
        return inside, whole


def severity_of(incident: Incident, agents: int, share: float, pages: bool) -> Severity:
    """From ticket to critical.

    `agents`: how many it concerns. `share`: of the fleet's runs or users. `pages`: whether its evidence keeps the
    promise about false pages; what is weaker wakes nobody.
    """
    if not pages:
        return Severity.TICKET
    stopping = incident.kind in (Kind.OUTAGE, Kind.SILENCE)
    if stopping and (agents >= 2 or share >= WIDE):
        return Severity.CRITICAL
    failed = incident.measures.get("run_failed")
    if failed is not None and failed.observed >= 2 * failed.expected and share >= MOST:
        return Severity.CRITICAL
    return Severity.WARNING


def graver(first: Severity, second: Severity) -> Severity:
    """The worse of two: an incident's severity does not fall while it is open."""
    return max(first, second, key=list(Severity).index)


def burden_before(case: Case, view: View) -> tuple[float, float]:
    """Runs and money from the onset until now, by what the engine knows of it."""
    since_ns, agents = case.incident.started_ns, case.agents
    runs_cells, spend_cells = view.one("run_latency", since_ns), view.one(_SPEND, since_ns)
    runs = runs_cells.pooled(runs_cells.agents_mask(agents)).n
    spend = spend_cells.pooled(spend_cells.agents_mask(agents)).observed
    if not case.direct:
        return 0.0, 0.0
    signal = leading(case.direct)
    cells = view.one(signal, since_ns)
    pooled = cells.pooled(cells.of(case.incident.scope, agents))
    if BY_NAME[signal].form is Form.LEVEL:
        whole = cells.pooled(cells.agents_mask(agents)).n
        affected = runs * pooled.n / whole if whole else 0.0
    else:
        affected = max(pooled.excess, 0.0)
        if BY_NAME[signal].form is Form.HITS:
            affected = min(affected, runs) if runs else affected
    lead = lead_of(case)
    return affected, _too_much(case, lead, spend * min(affected / runs, 1.0)) if runs and lead else 0.0


def lead_of(case: Case) -> Measure | None:
    """The measure that stands for an incident, if it has any."""
    measures = case.incident.measures
    direct = [signal for signal in case.direct if signal in measures] or list(measures)
    return measures[leading(direct)] if direct else None


def _too_much(case: Case, lead: Measure, cost_usd: float) -> float:
    """Of a cost spike only what is above the usual counts."""
    if case.incident.kind is not Kind.COST_SPIKE or lead.observed <= 0:
        return cost_usd
    return cost_usd * max(1 - lead.expected / lead.observed, 0.0)
