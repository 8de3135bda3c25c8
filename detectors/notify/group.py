"""What is told together, whom it was told, and what there is to tell now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import xxhash

from detectors.incidents.incident import Severity, Status
from detectors.notify.page import Event, Told, gravest, status_of
from dimwatch.clock import NS_PER_SECOND
from dimwatch.targets import Notify, Route

MINUTE_NS: Final = 60 * NS_PER_SECOND
_OVER: Final = (Status.RESOLVED.value, Status.FALSE.value)
_SEVERITIES: Final = [severity.value for severity in Severity]
MOST_INCIDENTS: Final = 500
"""Of one group; the oldest that are over are forgotten first."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a route tells, its own settings before the general ones."""

    targets: tuple[str, ...]
    wait_ns: int
    interval_ns: int
    repeat_ns: int
    steps: tuple[tuple[int, tuple[str, ...]], ...]
    """Of escalation: after how long, and whom."""
    quiet: bool
    resend_ns: Mapping[str, int]
    """Targets that want to hear again and again while it goes on, whoever has acknowledged it."""

    @classmethod
    def of(cls, route: Route, notify: Notify) -> Manner:
        """The manner of a route."""

        def own(value: float | None, general: float) -> float:
            return general if value is None else value

        return cls(
            tuple(dict.fromkeys(route.targets)),
            int(own(route.wait_s, notify.wait_s) * NS_PER_SECOND),
            int(own(route.interval_m, notify.interval_m) * MINUTE_NS),
            int(own(route.repeat_h, notify.repeat_h) * 60 * MINUTE_NS),
            tuple(sorted((int(step.after_m * MINUTE_NS), tuple(step.to)) for step in route.escalate)),
            route.quiet,
            {t.name: int(t.resend_m * MINUTE_NS) for t in notify.targets if t.type == "alertmanager"},
        )


@dataclass(slots=True)
class Memory:
    """What a target was told last."""

    status: str
    severity: str
    fingerprint: str
    at_ns: int


@dataclass(slots=True)
class Group:
    """Incidents that are told of together."""

    id: str
    key: str
    """What targets know it by."""
    route: str
    of: tuple[str, ...]
    """What they have in common."""
    tenant: str
    created_ns: int
    incidents: dict[str, Told] = field(default_factory=dict)
    told: dict[str, Memory] = field(default_factory=dict)
    """By target."""
    paged_ns: int | None = None
    """Since when nobody has acknowledged it."""
    steps: int = 0
    """Of escalation that were taken."""
    sequence: int = 0
    """Messages so far."""
    over_ns: int | None = None

    @property
    def status(self) -> str:
        return status_of(list(self.incidents.values()))

    @property
    def over(self) -> bool:
        return self.status in _OVER

    def take(self, incident: Told, now_ns: int) -> None:
        """An incident as it is now."""
        self.incidents[incident.id] = incident
        if len(self.incidents) > MOST_INCIDENTS:
            del self.incidents[min(self.incidents.values(), key=lambda i: (i.live, i.opened_ns, i.id)).id]
        if self.over:
            self.over_ns = now_ns if self.over_ns is None else self.over_ns
        elif self.over_ns is not None:
            self.over_ns, self.created_ns = None, now_ns

    def news(self, manner: Manner, now_ns: int, *, quiet: bool) -> Iterator[tuple[str, Event]]:
        """Whom there is something to tell now. The caller tells them, and this remembers."""
        incidents = list(self.incidents.values())
        status, severity = self.status, gravest(incidents)
        now = Memory(status, severity, _fingerprint(incidents), now_ns)
        held = quiet and manner.quiet and severity != Severity.CRITICAL
        for target in dict.fromkeys((*manner.targets, *self.told)):
            resend_ns = manner.resend_ns.get(target)
            if resend_ns is not None:
                event = self._for_a_machine(self.told.get(target), now, resend_ns)
            else:
                event = self._for_people(self.told.get(target), now, manner, held)
            if event is not None:
                yield from self._tell(target, event, now)
                if event is Event.TRIGGER and resend_ns is None and self.paged_ns is None:
                    self.paged_ns, self.steps = now_ns, 0
        if status != Status.OPEN:
            self.paged_ns = None
        while not held and self.paged_ns is not None and self.steps < len(manner.steps):
            after_ns, whom = manner.steps[self.steps]
            if now_ns < self.paged_ns + after_ns:
                break
            self.steps += 1
            for target in whom:
                yield from self._tell(target, Event.ESCALATE, now)

    def _tell(self, target: str, event: Event, now: Memory) -> Iterator[tuple[str, Event]]:
        self.told[target] = now
        yield target, event

    def _for_people(self, before: Memory | None, now: Memory, manner: Manner, held: bool) -> Event | None:
        if before is None:
            waited = now.at_ns >= self.created_ns + manner.wait_ns
            return Event.TRIGGER if now.status == Status.OPEN and waited and not held else None
        if now.status != Status.OPEN:
            if before.status == now.status or (before.status in _OVER and now.status in _OVER):
                return None
            if before.status in _OVER:
                return None  # it came back, and somebody has it already
            return _ENDS[now.status]
        worse = _SEVERITIES.index(now.severity) > _SEVERITIES.index(before.severity)
        if held:
            return None
        if before.status != Status.OPEN or worse:
            return Event.TRIGGER
        if now.fingerprint != before.fingerprint and now.at_ns >= before.at_ns + manner.interval_ns:
            return Event.UPDATE
        return Event.REPEAT if now.at_ns >= before.at_ns + manner.repeat_ns else None

    def _for_a_machine(self, before: Memory | None, now: Memory, resend_ns: int) -> Event | None:
        live = now.status in (Status.OPEN, Status.ACKNOWLEDGED)
        was_live = before is not None and before.status in (Status.OPEN, Status.ACKNOWLEDGED)
        if before is None or not was_live:
            return Event.TRIGGER if live else None
        if not live:
            return Event.RESOLVE
        if now.fingerprint != before.fingerprint:
            return Event.UPDATE
        return Event.REPEAT if now.at_ns >= before.at_ns + resend_ns else None

    def json(self) -> dict[str, Any]:
        """For the state."""
        parts = {name: getattr(self, name) for name in Group.__slots__}
        parts["incidents"] = [incident.json() for incident in self.incidents.values()]
        parts["told"] = {target: [getattr(m, name) for name in Memory.__slots__] for target, m in self.told.items()}
        return parts

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Group:
        """Undo `json`."""
        incidents = {incident["id"]: Told(**incident) for incident in state["incidents"]}
        told = {target: Memory(*values) for target, values in state["told"].items()}
        return cls(**{**state, "of": tuple(state["of"]), "incidents": incidents, "told": told})


_ENDS: Final = {
    Status.ACKNOWLEDGED.value: Event.ACKNOWLEDGE,
    Status.SILENCED.value: Event.SILENCE,
    Status.RESOLVED.value: Event.RESOLVE,
    Status.FALSE.value: Event.RESOLVE,
}


def _fingerprint(incidents: Sequence[Told]) -> str:
    """What people would want to hear of when it changes."""
    parts = [
        repr((i.id, i.status, i.severity, i.kind, sorted(i.scope.items()), [c.get("what") for c in i.causes[:1]]))
        for i in sorted(incidents, key=lambda incident: incident.id)
    ]
    return xxhash.xxh3_64_hexdigest("\x1f".join(parts).encode())
