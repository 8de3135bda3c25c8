"""Why: the candidates for an incident's cause, likeliest first."""

from __future__ import annotations

import math
from typing import Final

from detectors.incidents.case import Case
from detectors.incidents.grouping import MINUTE, Agents
from detectors.incidents.incident import Cause
from detectors.incidents.inputs import Change, Ledger

WINDOW: Final = 120 * MINUTE
"""A change so long before the onset may still be the cause."""
_LATE: Final = 30 * MINUTE
"""Onsets are estimates: a change so long after one, too."""
_FADE: Final = 45 * MINUTE
MOST: Final = 5

_RELEVANCE: Final = {
    "answered_model": 0.95,
    "release": 0.9,
    "prompt": 0.9,
    "tools": 0.85,
    "model": 0.85,
    "tool": 0.7,
    "fingerprint": 0.6,
    "instrumentation": 0.3,
}
"""How often a change of that kind is at the bottom of an incident next to it; an order, not a measurement."""
_NAMES: Final = {
    "answered_model": "the model that answers",
    "fingerprint": "the fingerprint of the model",
    "prompt": "the system prompt",
    "tools": "the list of tools",
    "release": "the release",
    "instrumentation": "the instrumentation",
    "model": "the model asked for",
    "tool": "the tool",
}


def causes(case: Case, ledger: Ledger, now_ns: int) -> list[Cause]:
    """Entries of the ledger on the same agents and models before the onset, and the part of the fleet itself."""
    incident = case.incident
    start, end = incident.started_ns - WINDOW, min(incident.started_ns + _LATE, now_ns)
    groups: dict[tuple[str, str, str, str], list[Change]] = {}
    for change in ledger.since(start, end):
        model = incident.scope.value("model")
        of_model = change.attribute in ("answered_model", "fingerprint")
        if (change.tenant, change.agent) not in case.agents or (of_model and model and change.key != model):
            continue
        groups.setdefault((change.attribute, change.key, change.before, change.after), []).append(change)
    found = [_of_changes(group, case.agents, incident.started_ns) for group in groups.values()]
    found.append(_of_part(case))
    return sorted(found, key=lambda cause: (-cause.evidence, cause.type, cause.what))[:MOST]


def words(change: Change) -> str:
    """What changed, in words."""
    name = _NAMES.get(change.attribute, change.attribute)
    of = f" for {change.key}" if change.key and change.attribute in ("answered_model", "fingerprint") else ""
    if not change.after:
        return f"{name}{of} {_short(change.before)} vanished"
    if not change.before:
        return f"{name}{of} {_short(change.after)} is new"
    return f"{name}{of} changed from {_short(change.before)} to {_short(change.after)}"


def _of_changes(group: list[Change], agents: Agents, started_ns: int) -> Cause:
    nearest = min(group, key=lambda change: (abs(change.time_ns - started_ns), change.id))
    affected = {(change.tenant, change.agent) for change in group}
    closeness = math.exp(-abs(nearest.time_ns - started_ns) / _FADE)
    coverage = math.sqrt(len(affected) / max(len(agents), 1))
    where = f" in {nearest.agent}" if len(affected) == 1 else f" in {len(affected)} agents"
    rank = _RELEVANCE.get(nearest.attribute, 0.5) * closeness * coverage
    return Cause("change", words(nearest) + where, rank, nearest.time_ns, nearest.id)


def _of_part(case: Case) -> Cause:
    scope, several = case.incident.scope, len(case.agents) > 1
    agent, tool, model, provider = (scope.value(name) for name in ("agent", "tool", "model", "provider"))
    if tool:
        return Cause(
            "tool", f"the tool {tool}" + ("" if agent else f": all {len(case.agents)} agents that use it"), 0.5
        )
    if provider and (several or not agent):
        what = f"{model} of {provider}" if model else f"all models of {provider}"
        return Cause("model" if model else "provider", f"{what}, on {len(case.agents)} agents at once", 0.6)
    if agent:
        return Cause("agent", f"the agent {agent} alone", 0.4)
    return Cause("fleet", f"{len(case.agents)} agents at once", 0.3)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:12]}…"
