"""Obeying what people say of incidents: at once, and each order once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from detectors.incidents.case import Case
from detectors.incidents.control import Action, Order
from detectors.incidents.incident import Incident
from detectors.incidents.silences import Silences
from dimwatch.errors import InvalidError

_REMEMBERED: Final = 2_000
"""Ids of the latest orders, to know what is said twice."""
_VERSION: Final = 1


class Outcome(StrEnum):
    """What became of an order."""

    OBEYED = "obeyed"
    REPEATED = "repeated"
    """It was said before, and counted then."""
    OVER = "over"
    """The incident, or the time until which to be silent, was over already."""
    UNKNOWN_INCIDENT = "unknown_incident"
    """There is none of that id, or it was over so long ago that it was forgotten."""
    UNKNOWN_SILENCE = "unknown_silence"
    TOO_MANY_SILENCES = "too_many_silences"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an order led to."""

    outcome: Outcome
    tenant: str = ""
    """Of the incident that it is about."""
    changed: Sequence[Incident] = ()
    """Incidents as they are now, by time of opening."""


class Orders:
    """Who obeys. Time is that of the fleet: the end of the last minute that was closed."""

    def __init__(self) -> None:
        self.silences = Silences()
        self._seen: dict[str, None] = {}
        self._now_ns = 0

    def step(self, now_ns: int) -> None:
        """A minute was closed."""
        self._now_ns = now_ns
        self.silences.expire(now_ns)

    def obey(self, order: Order, cases: Iterable[Case]) -> Answer:
        """Change what the order is about. What it teaches the statistics counts from the next minute on."""
        if order.id in self._seen:
            return Answer(Outcome.REPEATED)
        if order.id:
            self._seen[order.id] = None
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        cases = list(cases)
        about = next((case for case in cases if case.incident.id == order.incident), None)
        tenant = about.incident.tenant if about else ""
        if order.action is Action.LABEL:
            return Answer(Outcome.OBEYED, tenant)  # also of what is long over: its row keeps it
        if order.until_ns is not None and order.until_ns <= self._now_ns:
            return Answer(Outcome.OVER, tenant)
        if order.action is Action.END_SILENCE:
            return self._end(order, cases)
        if not order.incident:
            if not self.silences.begin(order):
                return Answer(Outcome.TOO_MANY_SILENCES)
            return Answer(Outcome.OBEYED, order.scope.get("tenant", ""), self._told(cases))
        if about is None:
            return Answer(Outcome.UNKNOWN_INCIDENT)
        outcome = Outcome.OBEYED if about.obey(order, self._now_ns) else Outcome.OVER
        return Answer(outcome, tenant, self._told([about]))

    def _end(self, order: Order, cases: Sequence[Case]) -> Answer:
        own = [case for case in cases if case.silence == order.silence]
        for case in own:
            case.speak()
        if not self.silences.end(order.silence) and not own:
            return Answer(Outcome.UNKNOWN_SILENCE)
        return Answer(Outcome.OBEYED, own[0].incident.tenant if own else "", self._told(cases))

    def _told(self, cases: Sequence[Case]) -> list[Incident]:
        changed = []
        for case in cases:
            case.follow(self.silences, self._now_ns)
            if case.news(self._now_ns):
                changed.append(case.copy())
        return sorted(changed, key=lambda incident: (incident.opened_ns, incident.id))

    def snapshot(self) -> bytes:
        """All that is needed to go on, as JSON."""
        state = {"version": _VERSION, "now_ns": self._now_ns, "seen": list(self._seen)}
        return orjson.dumps({**state, "silences": self.silences.state()})

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. Raises InvalidError for anything else."""
        try:
            parts = orjson.loads(state)
            if parts["version"] != _VERSION:
                raise InvalidError(f"orders of version {parts['version']}, this program writes {_VERSION}")
            self._now_ns, self._seen = parts["now_ns"], dict.fromkeys(parts["seen"])
            self.silences.restore(parts["silences"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"unreadable state of orders: {error!r}") from error
