"""What the lifecycle keeps of an incident besides what people see, and whether it is over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from detectors.alerts import Alert, Node
from detectors.incidents.control import Action, Order
from detectors.incidents.grouping import Agents
from detectors.incidents.incident import Cause, Incident, Kind, Measure, Recent, Severity, Status
from detectors.incidents.kinds import SYMPTOM, depth, leading
from detectors.incidents.silences import Silences
from detectors.windows.signals import BY_NAME, Subject


@dataclass(slots=True)
class Case:
    """An incident with what it takes to follow it."""

    incident: Incident
    agents: Agents
    direct: set[str]
    """Signals that it is made of; the others of its measures are consequences."""
    strength: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By direct signal: observed and expected (as in Evidence) in its scope while it lasted."""
    heard: dict[str, int] = field(default_factory=dict)
    """By signal: when it alerted last."""
    changed: str = ""
    """What changed, in words, where that is the incident."""
    named: bool = False
    """Whether its kind takes all of its signals into account."""
    pages: bool = True
    """Whether its evidence keeps the promise about false pages."""
    share: float = 0.0
    """Of the fleet's runs or users, the most so far."""
    reviewed_ns: int = 0
    told_ns: int = 0
    told: str = ""
    """What was told last, to tell again when it is different."""
    silence: str = ""
    """Id of the order that silenced it, while that lasts."""
    silenced_until_ns: int = 0
    acknowledged: bool = False
    relearn: bool = False
    """Whether somebody has said that what it is like counts as normal, and the statistics do not know yet."""

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.incident.resolved_ns is None

    def settling(self, now_ns: int, reopens_ns: int) -> bool:
        """Whether it goes on, or is over for so short a time that it may come back."""
        ended_ns = self.incident.resolved_ns
        return ended_ns is None or now_ns - ended_ns <= reopens_ns

    @property
    def depth(self) -> int:
        """How near to a cause it is: what is deeper may be its consequence."""
        if self.incident.kind is Kind.MODEL_CHANGE:
            return 0
        return min((depth(signal) for signal in self.direct), default=SYMPTOM)

    def attach(self, alert: Alert, now_ns: int, direct: bool) -> None:
        """Take in an alert: of a signal's alerts the one nearest to the scope is what is shown of it."""
        if direct:
            self.direct.add(alert.signal)
        self.heard[alert.signal] = now_ns
        self.pages = self.pages or alert.evidence >= alert.threshold
        self.named = self.named and (not direct or alert.signal in self.incident.measures)
        known = self.incident.measures.get(alert.signal)
        exact = _likeness(alert.node, self.incident.scope)
        if known is None or known.evidence <= alert.evidence or exact == 0:
            self.incident.measures[alert.signal] = Measure(
                alert.signal,
                alert.observed,
                alert.expected,
                max(alert.evidence, known.evidence if known else 0.0),
                alert.since_ns,
                alert.n,
                alert.signal in self.direct,
            )

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return BY_NAME[leading(self.direct)].subject if self.direct else Subject.MODEL

    def rescope(self, scope: Node, agents: Agents) -> None:
        """It is about another part of the fleet than was thought; the id stays."""
        self.incident.scope, self.agents = scope, agents
        self.strength.clear()

    def resolve(self, now_ns: int) -> None:
        """It is over."""
        self.incident.status, self.incident.resolved_ns = Status.RESOLVED, now_ns

    def reopen(self) -> None:
        """It was not."""
        self.incident.resolved_ns = None
        self.incident.status = Status.ACKNOWLEDGED if self.acknowledged else Status.OPEN

    def obey(self, order: Order, now_ns: int) -> bool:
        """Do what somebody said. False where it is over: then it stays over, except that it may turn out false."""
        was_open = self.open
        if order.action is Action.FALSE:
            self.incident.status = Status.FALSE
            self.incident.resolved_ns = now_ns if was_open else self.incident.resolved_ns
        elif not was_open:
            return False
        elif order.action is Action.RESOLVE:
            self.resolve(now_ns)
        elif order.action is Action.ACKNOWLEDGE:
            self.acknowledged = True
        elif order.action is Action.SILENCE:
            self.silence, self.silenced_until_ns = order.id, order.until_ns or 0
        self.relearn = self.relearn or (was_open and order.action in (Action.ACKNOWLEDGE, Action.FALSE))
        return True

    def speak(self) -> None:
        """Its own silence is over."""
        self.silence, self.silenced_until_ns = "", 0

    def follow(self, silences: Silences, now_ns: int) -> None:
        """While it goes on: silenced as long as any silence lasts, its own or that of a scope, and then as before."""
        if not self.open:
            return
        if self.silenced_until_ns <= now_ns:
            self.speak()
        if self.silenced_until_ns or silences.cover(self.incident):
            self.incident.status = Status.SILENCED
        else:
            self.incident.status = Status.ACKNOWLEDGED if self.acknowledged else Status.OPEN

    def copy(self) -> Incident:
        """The incident as it is now, for others to keep."""
        incident = self.incident
        return replace(incident, measures=dict(incident.measures), causes=list(incident.causes))

    def news(self, now_ns: int, again_ns: int | None = None) -> bool:
        """Whether there is something to tell that was not: a new version, then. Mere growth waits for `again_ns`, and
        is not told where that is None."""
        incident = self.incident
        now = orjson.dumps(
            [
                incident.status,
                incident.severity,
                incident.kind,
                incident.scope.of,
                sorted(incident.measures),
                [cause.what for cause in incident.causes],
                incident.settled,
            ]
        ).decode()
        grown = self.open and again_ns is not None and now_ns - self.told_ns >= again_ns
        if now == self.told and not grown:
            return False
        self.told, self.told_ns = now, now_ns
        incident.version += 1
        return True

    def state(self) -> dict[str, Any]:
        """As JSON."""
        incident = self.incident
        parts = {name: getattr(incident, name) for name in Incident.__slots__ if name not in _TYPED}
        parts["scope"] = incident.scope.of
        parts["measures"] = [[getattr(m, name) for name in Measure.__slots__] for m in incident.measures.values()]
        parts["causes"] = [[getattr(cause, name) for name in Cause.__slots__] for cause in incident.causes]
        recent = incident.recent
        parts["recent"] = None if recent is None else [getattr(recent, name) for name in Recent.__slots__]
        own = {name: getattr(self, name) for name in Case.__slots__ if name not in ("incident", "agents", "direct")}
        return {"incident": parts, "agents": sorted(self.agents), "direct": sorted(self.direct), **own}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Case:
        """Undo `state`."""
        parts, rest = dict(state["incident"]), dict(state)
        measures = [Measure(*values) for values in parts.pop("measures")]
        recent = parts.get("recent")  # states of before have none
        incident = Incident(
            **{
                **parts,
                "kind": Kind(parts["kind"]),
                "severity": Severity(parts["severity"]),
                "status": Status(parts["status"]),
                "scope": Node(_pairs(parts["scope"])),
                "measures": {measure.signal: measure for measure in measures},
                "causes": [Cause(*values) for values in parts["causes"]],
                "recent": None if recent is None else Recent(*recent[:3], *map(tuple, recent[3:])),
            }
        )
        del rest["incident"], rest["agents"], rest["direct"]
        rest["strength"] = {signal: (observed, expected) for signal, (observed, expected) in rest["strength"].items()}
        return cls(incident, frozenset(_pairs(state["agents"])), set(state["direct"]), **rest)


_TYPED: Final = ("scope", "measures", "causes", "recent")


def _likeness(node: Node, scope: Node) -> int:
    """How many dimensions two nodes differ in."""
    return len(set(node.of) ^ set(scope.of))


def _pairs(pairs: Collection[Collection[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first, second in pairs)
