"""The life of incidents: they open once the evidence is there, take in what belongs to them, and end."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson

from detectors.alerts import Alert, Node
from detectors.incidents.belonging import belongs, tail
from detectors.incidents.case import Case
from detectors.incidents.grouping import (
    MINUTE,
    Agents,
    Proposal,
    WaitingRoom,
    goes_on,
    matters,
    propose,
    same_onset,
)
from detectors.incidents.incident import Incident, Kind, Severity, Status, identity
from detectors.incidents.inputs import Engine, Ledger, View, subject
from detectors.incidents.kinds import depth, kind_of, leading
from detectors.incidents.model_changes import ModelChange, ModelChanges
from detectors.incidents.recent import recent
from detectors.incidents.review import WIDENS, assess, failing_share, name, review, searched
from detectors.incidents.severity import Traffic, burden_before
from detectors.incidents.silences import Silences
from detectors.incidents.users import Users
from detectors.windows.minute import Minute
from detectors.windows.signals import BY_NAME, Subject
from dimwatch.errors import InvalidError

REOPEN: Final = 30 * MINUTE
"""What comes back so soon is the same incident, and what it leaves in its wake is none of its own."""
REMEMBERED: Final = 24 * 60 * MINUTE
"""Until then a detector that still fires is asked whether it does so for anything since the end."""
MOST_NEW: Final = 8
"""So many incidents within the time in which they widen are one of the whole fleet."""
MOST_KEPT: Final = 500
"""Of more, the oldest that are settled are forgotten before their day is over; none that is not yet settled. Tickets
wait while so many are not; what pages opens all the same, and `MOST_NEW` bounds that."""
_TELL_AGAIN: Final = 15 * MINUTE
_VERSION: Final = 1


class Incidents:
    """All incidents of a fleet. The same minutes, alerts and ledger give the same incidents, in any order of alerts."""

    def __init__(self, silences: Silences | None = None) -> None:
        self._waiting = WaitingRoom()
        self._model_changes = ModelChanges()
        self._cases: list[Case] = []
        self._silences = silences or Silences()
        self._users = Users()

    @property
    def open(self) -> int:
        """How many are open."""
        return sum(case.open for case in self._cases)

    @property
    def cases(self) -> Sequence[Case]:
        """Those that are open, and those that are remembered."""
        return self._cases

    def step(self, minute: Minute, alerts: Sequence[Alert], engine: Engine, ledger: Ledger) -> list[Incident]:
        """Take in a closed minute. Returns the incidents that opened or changed, by time of opening; `version` 1 is one
        that opened, a `settled` one comes for the last time."""
        view = View(engine, minute.end_ns)
        self._users.add(minute)
        self._relearn(view)
        loose, cases = [], self._in_order()
        for alert in sorted(alerts, key=lambda alert: (depth(alert.signal), alert.signal, alert.node)):
            if BY_NAME[alert.signal].pages:
                rest = self._take(view, alert, cases)
                if rest is not None and matters(rest) and goes_on(view, rest):
                    loose.append(rest)
        self._waiting.hear(loose, view.now_ns)
        self._follow_model_changes(view, ledger)
        self._open_proposals(view)
        going = [case for case in self._cases if case.open]
        for case in going:
            review(view, case)
        if going:
            traffic = Traffic(minute.points)
            for case in going:
                assess(case, traffic, self._users, ledger, view.now_ns)
        return self._changed(view)

    def finish(self) -> list[Incident]:
        """The input has ended: the final state of all that have not come for the last time."""
        last = [case for case in self._cases if not case.incident.settled]
        for case in last:
            case.incident.settled = True
        return sorted((case.copy() for case in last), key=lambda incident: (incident.opened_ns, incident.id))

    def snapshot(self) -> bytes:
        """All that is needed to go on, as JSON."""
        return orjson.dumps(
            {
                "version": _VERSION,
                "cases": [case.state() for case in self._cases],
                "waiting": self._waiting.state(),
                "model_changes": self._model_changes.state(),
                "users": self._users.state(),
            }
        )

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. Raises InvalidError for anything else."""
        try:
            parts = orjson.loads(state)
            if parts["version"] != _VERSION:
                raise InvalidError(f"incidents of version {parts['version']}, this program writes {_VERSION}")
            self._cases = [Case.of(case) for case in parts["cases"]]
            self._waiting = WaitingRoom.of(parts["waiting"])
            self._model_changes = ModelChanges.of(parts["model_changes"])
            self._users = Users.of(parts["users"]) if "users" in parts else Users()
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise InvalidError(f"unreadable state of incidents: {error!r}") from error

    # What belongs to an incident that is known.

    def _in_order(self) -> list[Case]:
        """Those that go on first, then the newest."""
        return sorted(self._cases, key=lambda case: (not case.open, -case.incident.opened_ns, case.incident.id))

    def _take(self, view: View, alert: Alert, cases: Sequence[Case]) -> Alert | None:
        """Give an alert to the incident it belongs to. Returns what is left of it: None, or the alert, its onset not
        before the end of the incident that it was part of."""
        for case in cases:
            direct = belongs(view, case, alert)
            if direct is None and not tail(case, alert):
                continue
            if direct is None and case.open:
                direct = alert.signal in case.direct
            if direct is None:
                if _since(view, alert, case.incident.resolved_ns or view.now_ns):
                    continue
                return None
            if case.open:
                case.attach(alert, view.now_ns, direct)
                return None
            ended_ns = case.incident.resolved_ns or view.now_ns
            recent = view.now_ns - ended_ns <= REOPEN
            if alert.since_ns < ended_ns:
                if not _since(view, alert, ended_ns):
                    return None  # the tail of what is over
                alert = replace(alert, since_ns=ended_ns)
            if recent and (not direct or case.incident.status is Status.FALSE):
                return None
            if recent:
                case.reopen()
                case.attach(alert, view.now_ns, direct)
                return None
        return alert

    # Opening and widening.

    @property
    def _full(self) -> bool:
        """Whether there are so many that are not settled that no ticket opens."""
        return sum(not case.incident.settled for case in self._cases) >= MOST_KEPT

    def _open_proposals(self, view: View) -> None:
        if not self._waiting.alerts:
            return
        cases = self._in_order()
        for waiting in self._waiting.sorted():
            if waiting.last_ns < view.now_ns and self._take(view, waiting.alert, cases) is None:
                self._waiting.drop([waiting.alert])
        for proposal in propose(view, self._waiting.sorted()):
            case = self._taker(view, proposal)
            if case is None and proposal.due(view.now_ns):
                case = self._storm(view.now_ns) if proposal.pages else None
                if case is None and (proposal.pages or not self._full):
                    case = self._open(view, proposal)
            if case is not None:
                if not case.open and case.incident.status is not Status.FALSE:
                    case.reopen()
                for alert in proposal.direct:
                    case.attach(alert, view.now_ns, alert.signal in proposal.signals)
                for alert in proposal.consequences:
                    case.attach(alert, view.now_ns, False)
                self._waiting.drop([*proposal.direct, *proposal.consequences])
                name(case, view)

    def _open(self, view: View, proposal: Proposal) -> Case:
        failing = failing_share(view, proposal.node, proposal.agents, proposal.since_ns, proposal.signals)
        kind = kind_of(proposal.signals, failing)
        return self._add(
            view, kind, proposal.node, proposal.agents, proposal.since_ns, set(proposal.signals), proposal.pages
        )

    def _add(
        self, view: View, kind: Kind, scope: Node, agents: Agents, since_ns: int, direct: set[str], pages: bool
    ) -> Case:
        tenants = {tenant for tenant, _ in agents}
        tenant = tenants.pop() if len(tenants) == 1 else ""
        incident = Incident(
            identity(tenant, kind, scope, since_ns),
            tenant,
            kind,
            Severity.TICKET,
            Status.OPEN,
            scope,
            opened_ns=view.now_ns,
            started_ns=min(since_ns, view.now_ns),
        )
        case = Case(incident, agents, direct, pages=pages, reviewed_ns=view.now_ns)
        incident.runs, incident.cost_usd = burden_before(case, view)
        self._cases.append(case)
        return case

    def _taker(self, view: View, proposal: Proposal) -> Case | None:
        """The incident that a proposal is more of, or the cause of."""
        for case in sorted(self._cases, key=lambda case: (-case.incident.opened_ns, case.incident.id)):
            incident = case.incident
            nested = proposal.node.within(incident.scope) or incident.scope.within(proposal.node)
            if nested and case.direct & set(proposal.signals) and case.settling(view.now_ns, REOPEN):
                return case
            if not case.open or not same_onset(proposal.since_ns, incident.started_ns):
                continue
            young = view.now_ns - incident.opened_ns <= WIDENS
            if incident.scope == Node() and proposal.depth >= case.depth:
                return case
            if young and case.subject is subject(leading(proposal.signals)) and case.direct:
                signals = searched(case.direct | set(proposal.signals))
                cells = view.cells(signals, min(incident.started_ns, proposal.since_ns))
                found = next(iter(cells.search(most=1)), None)
                if found and incident.scope.within(found.node) and proposal.node.within(found.node):
                    case.rescope(found.node, cells.agents(found.mask))
                    case.direct |= set(proposal.signals)
                    return case
            if young and proposal.depth < case.depth and case.agents & proposal.agents:
                case.direct = set(proposal.signals)
                case.rescope(proposal.node, proposal.agents)
                incident.started_ns = min(incident.started_ns, proposal.since_ns)
                return case
        return None

    def _storm(self, now_ns: int) -> Case | None:
        """Where there are too many new incidents at once: the first of them, as one of the whole fleet."""
        new = [c for c in self._cases if c.open and c.pages and now_ns - c.incident.opened_ns <= WIDENS]
        if len(new) < MOST_NEW:
            return None
        first = min(new, key=lambda case: (case.incident.opened_ns, case.incident.id))
        first.rescope(Node(), frozenset(agent for case in new for agent in case.agents))
        return first

    def _follow_model_changes(self, view: View, ledger: Ledger) -> None:
        for change in self._model_changes.heard(view, ledger):
            known = self._model_changes.known.get(change.key)
            if known is not None:
                case = self._case(known[0])
                if case is not None and case.open and case.incident.kind is Kind.MODEL_CHANGE:
                    self._amend(view, case, change)
                continue
            taken_back = self._model_changes.reversed_by(change)
            if taken_back is not None:
                case = self._case(taken_back)
                if case is not None and not case.incident.settled and case.incident.status is not Status.FALSE:
                    case.resolve(view.now_ns)
                self._model_changes.note(change, taken_back, view.now_ns)
                continue
            if not self._model_changes.due(view, change) or (self._full and not change.shifted):
                continue
            self._model_changes.note(change, self._changed_model(view, change), view.now_ns)

    def _changed_model(self, view: View, change: ModelChange) -> str:
        """Open an incident for a change of model, or make one of what goes on already. Returns its id, "" for none."""
        for case in self._cases:
            incident = case.incident
            if not (case.open and case.agents & change.agents and same_onset(incident.started_ns, change.time_ns)):
                continue
            if case.direct & {"model_error", "model_retried"}:
                return ""  # calls fail and another model steps in: that is no change of its own
            if case.subject is Subject.MODEL or case.depth > 0:
                incident.kind = Kind.MODEL_CHANGE
                self._amend(view, case, change)
                return incident.id
        case = self._add(view, Kind.MODEL_CHANGE, change.scope, change.agents, change.time_ns, set(), change.shifted)
        self._amend(view, case, change)
        return case.incident.id

    def _amend(self, view: View, case: Case, change: ModelChange) -> None:
        incident = case.incident
        case.changed = change.words
        case.pages = case.pages or change.shifted
        incident.scope, case.agents = change.scope, change.agents
        for measure in change.measures():
            incident.measures.setdefault(measure.signal, measure)
        if change.undone:
            case.resolve(view.now_ns)

    # Going on, and ending.

    def _relearn(self, view: View) -> None:
        """What people acknowledged or called false is normal from here on."""
        for case in self._cases:
            if case.relearn and case.direct:
                view.engine.rebaseline(case.incident.scope, sorted(case.direct), case.incident.started_ns)
            case.relearn = False

    def _case(self, id_: str) -> Case | None:
        return next((case for case in self._cases if case.incident.id == id_), None)

    def _changed(self, view: View) -> list[Incident]:
        now_ns, changed = view.now_ns, []
        for case in self._cases:
            if not case.settling(now_ns, REOPEN):
                case.incident.settled = True
            case.follow(self._silences, now_ns)
            if case.news(now_ns, _TELL_AGAIN):
                case.incident.recent = recent(view, case) or case.incident.recent
                changed.append(case.copy())
        kept = [case for case in self._cases if case.settling(now_ns, REMEMBERED)]
        settled = [id(case) for case in kept if case.incident.settled]
        forgotten = set(settled[: max(len(kept) - MOST_KEPT, 0)])
        self._cases = [case for case in kept if id(case) not in forgotten]
        return sorted(changed, key=lambda incident: (incident.opened_ns, incident.id))


def _since(view: View, alert: Alert, ended_ns: int) -> bool:
    """Whether an alert would fire for what came since the end of an incident alone."""
    cells = view.one(alert.signal, ended_ns)
    return cells.pooled(cells.mask(alert.node)).gain >= alert.threshold
