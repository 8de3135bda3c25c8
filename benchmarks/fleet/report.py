"""What came of a fleet, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.figures import Figure
from benchmarks.fleet.faults import KINDS
from benchmarks.fleet.score import Incident, Outcome


def rows(seed: int, outcomes: Sequence[Outcome], made_up: Sequence[Incident]) -> list[tuple[str, ...]]:
    """One row a fault, then one an incident that no fault explains."""
    table: list[tuple[str, ...]] = []
    for outcome in sorted(outcomes, key=lambda outcome: KINDS.index(outcome.fault.kind)):
        where, found = "/".join(outcome.fault.scope.values()), outcome.found
        beside = str(outcome.beside or "")
        if found is None:
            table.append((str(seed), outcome.fault.kind, where, "", "missed", "", beside))
            continue
        verdict = "tight" if outcome.tight else "right" if outcome.right else "wrong"
        said = f"{found.kind}{'' if outcome.kind_right else ' (?)'}: {place(found)}"
        table.append((str(seed), outcome.fault.kind, where, f"{outcome.delay_s / 60:.1f}", verdict, said, beside))
    for incident in made_up:
        at = f"at {incident.opened_s / 3600:.1f} h"
        said = f"{incident.kind}: {place(incident)} ({incident.severity}; {', '.join(incident.signals)})"
        table.append((str(seed), "none", at, "", "false", said, ""))
    return table


HEADER = ("seed", "fault", "where", "delay, min", "scope", "said", "beside")


def place(incident: Incident) -> str:
    """Its scope in words."""
    return " ".join(f"{name}={value}" for name, value in incident.scope.items()) or "fleet"


def figures(outcomes: Sequence[Outcome], made_up: Sequence[Incident], days: float) -> list[Figure]:
    """What machines read."""
    measured = [Figure("fleet_false_incidents_a_week", len(made_up) / days * 7, "incidents")]
    if outcomes:
        right = [outcome for outcome in outcomes if outcome.right]
        measured += [
            Figure("fleet_recall_right_scope", len(right) / len(outcomes), "ratio"),
            Figure("fleet_recall_tight_scope", sum(o.tight for o in outcomes) / len(outcomes), "ratio"),
            Figure("fleet_recall_any", sum(o.found is not None for o in outcomes) / len(outcomes), "ratio"),
            Figure("fleet_kind_right", sum(o.kind_right for o in right) / max(len(right), 1), "ratio"),
            Figure("fleet_beside_a_fault", sum(o.beside for o in outcomes) / len(outcomes), "incidents"),
        ]
        if right:
            measured.append(Figure("fleet_delay_median", median(o.delay_s for o in right) / 60, "min"))
    return measured


def markdown(heading: str, table: Sequence[tuple[str, ...]], measured: Sequence[Figure]) -> str:
    """The page that is kept: figures, every fault."""
    lines = ["| figure | value | unit |", "|---|---|---|"]
    lines += [f"| {figure.name} | {figure.value:.2f} | {figure.unit} |" for figure in measured]
    lines += ["", f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    lines += [f"| {' | '.join(row)} |" for row in table]
    return heading + "\n".join(lines) + "\n"
