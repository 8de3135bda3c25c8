"""Incidents against the truth: what was found, where, how soon, and what was made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from benchmarks.fleet.faults import FAMILY, Fault
from benchmarks.fleet.otlp import EPOCH_NS
from benchmarks.fleet.world import AGENTS, MODELS, TOOLS

_LATE_S: Final = 900.0
"""An incident may still be opened this long after its fault."""
_AFTER_S: Final = 5400.0
"""What opens until then is put down to the fault, rightly or not."""
_DIMENSIONS: Final = ("agent", "provider", "model", "tool", "release", "region")


@dataclass(frozen=True, slots=True)
class Incident:
    """What `dimwatch replay` said of one incident, in the end. Times are seconds since the fleet's first moment."""

    id: str
    kind: str
    severity: str
    scope: Mapping[str, str]
    opened_s: float
    signals: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault."""

    fault: Fault
    found: Incident | None
    """The first incident whose scope is the fault's, or else the first that opened during it."""
    right: bool
    """Its scope names where the fault is."""
    tight: bool
    """And nothing smaller."""
    beside: int
    """Further incidents while it lasted and soon after."""

    @property
    def delay_s(self) -> float:
        """From the fault's beginning to the incident; infinite if there is none."""
        return self.found.opened_s - self.fault.start_s if self.found else float("inf")

    @property
    def kind_right(self) -> bool:
        """It says what happened."""
        return self.found is not None and self.found.kind in FAMILY[self.fault.kind]


def incidents(lines: Iterable[Mapping[str, Any]]) -> list[Incident]:
    """The incidents of a replay's output, each in its last state, in order of opening."""
    last = {line["id"]: line for line in lines if line.get("type") == "incident"}
    found = [
        Incident(
            id=line["id"],
            kind=line["kind"],
            severity=line["severity"],
            scope={name: line["scope"][name] for name in _DIMENSIONS if line["scope"].get(name)},
            opened_s=datetime.fromisoformat(line["opened_at"]).timestamp() - EPOCH_NS / 1e9,
            signals=tuple(s["signal"] if isinstance(s, dict) else str(s) for s in line["signals"]),
            summary=str(line["summary"]),
        )
        for line in last.values()
    ]
    return sorted(found, key=lambda incident: (incident.opened_s, incident.id))


def score(faults: Sequence[Fault], found: Sequence[Incident]) -> tuple[list[Outcome], list[Incident]]:
    """What came of each fault, and the incidents that no fault explains."""
    outcomes, used = [], set()
    for fault in faults:
        during = [i for i in found if fault.start_s <= i.opened_s < fault.end_s + _AFTER_S]
        timely = [i for i in during if i.opened_s < fault.end_s + _LATE_S]
        right = [i for i in timely if names(i.scope, fault)]
        first = next(iter(right or timely), None)
        used |= {i.id for i in during}
        tight = bool(right) and set(right[0].scope) <= _implied(fault)
        outcomes.append(Outcome(fault, first, bool(right), tight, len(during) - (first is not None)))
    return outcomes, [i for i in found if i.id not in used]


def names(scope: Mapping[str, str], fault: Fault) -> bool:
    """Whether a scope says where the fault is. A model's name is enough, its provider need not be said."""
    wanted = dict(fault.scope)
    if "model" in wanted and "provider" not in scope:
        wanted.pop("provider", None)
    return all(scope.get(name) == value for name, value in wanted.items())


def _implied(fault: Fault) -> set[str]:
    """The dimensions that a scope may name without being smaller than it should be."""
    scope = fault.scope
    implied = set(scope)
    if "model" in scope:
        implied.add("provider")
    for agent in AGENTS:
        reasoning = [number for number in agent.models if MODELS[number].reasoning]
        if fault.kind == "reasoning" and scope.get("agent") == agent.name and len(reasoning) == 1:
            implied |= {"provider", "model"}
    for dimension, users in (
        ("tool", [agent for agent in AGENTS if scope.get("tool") in {TOOLS[n].name for n, _ in agent.tools}]),
        ("model", [agent for agent in AGENTS if scope.get("model") in {MODELS[n].name for n in agent.models}]),
    ):
        if dimension in scope and len(users) == 1:
            implied.add("agent")
    return implied
