"""An incident that goes on: is the scope still the best, what kind is it by now, and is it over?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from detectors.alerts import Node
from detectors.incidents.case import Case
from detectors.incidents.causes import Pooled, ratio
from detectors.incidents.grouping import MINUTE, Agents
from detectors.incidents.incident import Kind, Measure
from detectors.incidents.inputs import Ledger, View
from detectors.incidents.kinds import SYMPTOM, depth, kind_of
from detectors.incidents.ranking import causes
from detectors.incidents.severity import Traffic, graver, severity_of
from detectors.incidents.summary import sentence
from detectors.incidents.users import Users
from detectors.windows.signals import BY_NAME, Form

LASTING: Final = 24 * 60 * MINUTE
"""What has gone on for so long is how it is now."""
WIDENS: Final = 30 * MINUTE
"""Until then the scope follows the evidence."""
MODEL_CHANGE_STAYS: Final = 60 * MINUTE
_INTERVAL: Final = 5 * MINUTE
QUIET: Final = 3 * MINUTE
"""A signal that has not alerted for so long is as ever again."""
UNHEARD: Final = 45 * MINUTE
"""The same for one that never did, but was found as the cause of something that had."""
_AS_EVER: Final = 7.0
"""Nats."""
_LOOK_BACK: Final = tuple(minutes * MINUTE for minutes in (5, 10, 20, 40, 80))
_LATELY: Final = 5 * MINUTE
_ENOUGH: Final = 5.0
"""Calls to speak of a share."""
_SYMPTOMS: Final = frozenset(signal.name for signal in BY_NAME.values() if signal.symptom)
_BETTER: Final = 3.0
"""Nats by which a narrower scope must be better to be taken instead."""


def review(view: View, case: Case) -> None:
    """Look at the scope again, and whether it is over."""
    incident = case.incident
    age = view.now_ns - incident.opened_ns
    model_change = incident.kind is Kind.MODEL_CHANGE
    searchable = case.direct and incident.scope != Node() and not model_change
    if searchable and age <= WIDENS and view.now_ns - case.reviewed_ns >= _INTERVAL:
        case.reviewed_ns = view.now_ns
        case.named = False
        _look_again(view, case)
    if age <= WIDENS and case.direct - case.strength.keys():
        _measure(view, case)
    if not case.named:
        name(case, view)
    if age >= LASTING:
        if case.direct:
            view.engine.rebaseline(incident.scope, sorted(case.direct), incident.started_ns)
        case.resolve(view.now_ns)
    elif age >= (MODEL_CHANGE_STAYS if model_change else _INTERVAL) and _over(view, case):
        case.resolve(view.now_ns)
        view.engine.settle(case.agents, sorted(_SYMPTOMS | case.heard.keys()))


def assess(case: Case, traffic: Traffic, users: Users, ledger: Ledger, now_ns: int) -> None:
    """Blast radius, severity, causes and summary as of this minute."""
    incident = case.incident
    if case.open:
        burden = traffic.burden(case)
        incident.runs += burden.runs
        incident.cost_usd += burden.cost_usd
        # Whom silence concerns came before it.
        since_ns = 0 if incident.kind is Kind.SILENCE else incident.started_ns
        concerned = users.concerned(case.agents, burden.part, since_ns)
        incident.users = max(incident.users, concerned.users)
        case.share = max(case.share, burden.share, concerned.share)
    severity = severity_of(incident, len(case.agents), case.share, case.pages)
    incident.severity = graver(incident.severity, severity)
    if now_ns - incident.opened_ns <= WIDENS:
        incident.causes = causes(case, ledger, now_ns)
    incident.summary = sentence(incident, len(case.agents), case.changed)


def name(case: Case, view: View) -> None:
    """Kind and signals by what is known now. An outage stays one while it eases off."""
    incident = case.incident
    case.named = True
    if incident.kind not in (Kind.MODEL_CHANGE, Kind.OUTAGE) and case.direct:
        failing = failing_share(view, incident.scope, case.agents, incident.started_ns, case.direct)
        incident.kind = kind_of(case.direct, failing)
    incident.measures = {
        signal: replace(measure, direct=signal in case.direct) for signal, measure in sorted(incident.measures.items())
    }


def searched(signals: set[str]) -> list[str]:
    """The signals that a scope is searched with: symptoms only where there is nothing else."""
    return sorted(signal for signal in signals if depth(signal) < SYMPTOM) or sorted(signals)


def failing_share(view: View, scope: Node, agents: Agents, since_ns: int, signals: Collection[str]) -> float:
    """The share of model calls that fail, of late if that is more; 0 where none of the signals says that any do."""
    if "model_error" not in signals:
        return 0.0
    shares = [0.0]
    for start_ns in (since_ns, max(since_ns, view.now_ns - _LATELY)):
        cells = view.one("model_error", start_ns)
        pooled = cells.pooled(cells.of(scope, agents))
        if pooled.n >= _ENOUGH:
            shares.append(pooled.observed / pooled.n)
    return max(shares)


def _over(view: View, case: Case) -> bool:
    """Whether what it is made of has stopped. What is only further from the cause does not keep it open."""
    core = [signal for signal in sorted(case.direct) if depth(signal) <= case.depth]
    return all(_stopped(view, case, signal) for signal in core)


def _stopped(view: View, case: Case, signal: str) -> bool:
    """The engine ends an alert when it is as sure of that as it was of the beginning; here it is enough that the newest
    minutes are far likelier as ever than as they were while it lasted, since what comes back reopens the incident."""
    incident = case.incident
    heard_ns = case.heard.get(signal)
    if heard_ns is not None and view.now_ns - heard_ns >= QUIET:
        return True
    if heard_ns is None and view.now_ns - incident.opened_ns >= UNHEARD:
        return True
    strength = case.strength.get(signal)
    for back_ns in _LOOK_BACK:
        since_ns = view.now_ns - back_ns
        if strength is None or since_ns < incident.opened_ns:
            return False
        pooled = _pooled(view, case, signal, since_ns)
        observed, expected = np.array([pooled.observed]), np.array([pooled.expected])
        likelihood = float(ratio(BY_NAME[signal].form, observed, expected, *strength)[0])
        if likelihood <= -_AS_EVER:
            return True
        if likelihood > 0:
            return False
    return False


def _measure(view: View, case: Case) -> None:
    """Note how bad it is, to tell later when it is not any more, and to show what has not alerted."""
    incident = case.incident
    for signal in sorted(case.direct):
        pooled = _pooled(view, case, signal, incident.started_ns)
        case.strength[signal] = (pooled.observed, pooled.expected)
        countable = BY_NAME[signal].form in (Form.HITS, Form.EVENTS) and pooled.n > 0
        if signal not in case.heard and countable:
            incident.measures[signal] = Measure(
                signal,
                pooled.observed / pooled.n,
                pooled.expected / pooled.n,
                pooled.gain,
                incident.started_ns,
                pooled.n,
            )


def _pooled(view: View, case: Case, signal: str, since_ns: int) -> Pooled:
    cells = view.one(signal, since_ns)
    return cells.pooled(cells.of(case.incident.scope, case.agents))


def _look_again(view: View, case: Case) -> None:
    """Take a wider or narrower scope if that explains clearly more by now."""
    incident = case.incident
    cells = view.cells(searched(case.direct), incident.started_ns)
    found = next(iter(cells.search(most=1)), None)
    case.strength.clear()
    if found is None or found.node == incident.scope:
        return
    wider = incident.scope.within(found.node)
    better = found.gain - cells.gain(cells.of(incident.scope, case.agents)) >= _BETTER
    if wider or (found.node.within(incident.scope) and better):
        case.rescope(found.node, cells.agents(found.mask))
