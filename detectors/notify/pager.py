"""Incidents in, messages out: all that the notifier has to remember. The clock is an argument."""

from __future__ import annotations

from collections import Counter
from typing import Final

import orjson
import xxhash

from detectors.notify.group import MINUTE_NS, MOST_INCIDENTS, Group, Manner
from detectors.notify.ledger import Ledger
from detectors.notify.outbox import Circuit, Message, Outbox, Result
from detectors.notify.page import MOST_SHOWN, Event, Page, Told, page_of
from detectors.notify.routing import group_key, is_quiet, routes_of
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.targets import Notify, Route

KEPT_NS: Final = 120 * MINUTE_NS
"""What is over is remembered so long: until then it may come back."""
MOST_GROUPS: Final = 2_000
MOST_PASSED: Final = 5_000
LOOK_NS: Final = NS_PER_SECOND // 2
"""So often it is looked whether something is due by time alone."""
HEARTBEAT: Final = "heartbeat"
"""The group of heartbeats."""
_DAY_NS: Final = 24 * 60 * MINUTE_NS
_VERSION: Final = 1


class Pager:
    """Decides whom to tell what, and keeps it until it has arrived."""

    def __init__(self, notify: Notify, now_ns: int) -> None:
        """`now_ns`: of the very first start; incidents that are much older are nobody's news."""
        self._notify = notify
        self._routes = notify.effective_routes()
        self._manners = {route.name: Manner.of(route, notify) for route in self._routes}
        self._types = {target.name: target.type for target in notify.targets}
        self._since_ns = now_ns
        self._groups: dict[str, Group] = {}
        self._outbox = Outbox(int(notify.give_up_d * _DAY_NS))
        self._heartbeat_ns = 0
        self._looked_ns = 0
        self._heard = False
        self.ledger = Ledger(self._types)
        self._passed: dict[str, None] = {}
        """Of whom nobody was told, and why: so that it is counted once. The oldest first."""
        self.skipped: Counter[str] = Counter()
        """Incidents that nobody was told of, by reason, since this was last emptied."""
        self.changed = True
        """Whether there is something that the state has not said yet; whoever writes it sets this back."""

    @property
    def waiting(self) -> int:
        """Messages that have not arrived."""
        return len(self._outbox.messages)

    @property
    def circuits(self) -> dict[str, Circuit]:
        """By target."""
        return self._outbox.circuits

    def hear(self, incident: Told, now_ns: int) -> None:
        """An incident opened or changed."""
        known = [group for group in self._groups.values() if incident.id in group.incidents]
        if any(group.incidents[incident.id].version >= incident.version for group in known):
            return
        self._heard = self.changed = True
        for group in known:
            group.take(incident, now_ns)
        if not known and incident.opened_ns < self._since_ns - int(self._notify.max_age_h * 60 * MINUTE_NS):
            self._skip(incident, "too old", now_ns)
            return
        taken = {group.route for group in known}
        fitting = routes_of(self._routes, incident)
        for route in fitting:
            if route.name not in taken and route.targets and incident.live:
                self._group(route, incident, now_ns)
        if not known and not incident.live:
            self._skip(incident, f"{incident.status} before anybody was told", now_ns)
        elif not known and not any(route.targets for route in fitting):
            self._skip(incident, "no route", now_ns)

    def look(self, now_ns: int, *, well: bool = True) -> None:
        """Write the messages that are due. `well`: whether heartbeats may say so."""
        if not self._heard and 0 <= now_ns - self._looked_ns < LOOK_NS:
            return
        self._heard, self._looked_ns = False, now_ns
        quiet = is_quiet(self._notify.quiet_hours, now_ns)
        for group in list(self._groups.values()):
            for target, event in group.news(self._manner(group.route), now_ns, quiet=quiet):
                if target in self._types:
                    self._write(group, target, event, now_ns)
            self._forget(group, now_ns)
        self._beat(now_ns, well)

    def start(self, now_ns: int, most: int) -> list[Message]:
        """The attempts to make now, which count as made from here on."""
        due = self._outbox.due(now_ns, most)
        for message in due:
            self.changed = True
            self.ledger.add(message, message.started_ns, "sending", next_ns=message.next_ns)
        return due

    def message(self, key: str) -> Message:
        """The message of that key. Raises KeyError."""
        return self._outbox.messages[key]

    def finish(self, key: str, result: Result, now_ns: int) -> str:
        """How an attempt ended; returns `delivered`, `retrying`, `superseded` or `given_up`."""
        message = self._outbox.messages[key]
        state = self._outbox.finish(key, result, now_ns)
        next_ns = message.next_ns if state == "retrying" else None
        self.changed = True
        self.ledger.add(message, message.started_ns, state, result, next_ns)
        return state

    def next_ns(self) -> int | None:
        """When the next attempt is due, if any waits."""
        return self._outbox.next_ns()

    def snapshot(self) -> bytes:
        """All that is needed to go on, as JSON. No secrets."""
        return orjson.dumps(
            {
                "version": _VERSION,
                "since_ns": self._since_ns,
                "heartbeat_ns": self._heartbeat_ns,
                "passed": list(self._passed),
                "groups": [group.json() for group in self._groups.values()],
                "messages": [message.json() for message in self._outbox.messages.values()],
                "circuits": {name: [c.failures, c.until_ns] for name, c in self.circuits.items()},
            }
        )

    def restore(self, state: bytes, now_ns: int) -> None:
        """Undo `snapshot`; what was on its way goes out again. Raises InvalidError for anything else."""
        try:
            parts = orjson.loads(state)
            if parts["version"] != _VERSION:
                raise InvalidError(f"state of version {parts['version']}, this program writes {_VERSION}")
            groups = [Group.from_json(group) for group in parts["groups"]]
            messages = [Message.of(message) for message in parts["messages"]]
            circuits = {name: Circuit(*values) for name, values in parts["circuits"].items()}
            passed = dict.fromkeys(parts["passed"])
            self._since_ns, self._heartbeat_ns = int(parts["since_ns"]), int(parts["heartbeat_ns"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidError(f"unreadable state of the notifier: {error!r}") from error
        self._passed = passed
        self._groups = {group.id: group for group in groups}
        self._outbox.messages = {message.key: message for message in messages}
        self._outbox.circuits = circuits
        cut = Result.cut_short()
        for message in self._outbox.cut_short():
            self.ledger.add(message, message.started_ns, "retrying", cut, message.next_ns)
        for message in self._outbox.keep(self._types):
            self.ledger.add(message, now_ns, "given_up", Result.said("the target is not configured any more"))
        self.changed = self._heard = True

    def _group(self, route: Route, incident: Told, now_ns: int) -> None:
        of = group_key(route, incident)
        for group in self._groups.values():
            if group.route == route.name and group.of == of:
                group.take(incident, now_ns)
                return
        if len(self._groups) >= MOST_GROUPS and not self._make_room():
            self._skip(incident, "too many at once", now_ns)
            return
        id_ = xxhash.xxh3_64_hexdigest("\x1f".join((route.name, *of, incident.id)).encode())
        key = incident.id if route.group_by is None else id_
        group = Group(id_, key, route.name, of, incident.tenant, now_ns)
        group.take(incident, now_ns)
        self._groups[id_] = group

    def _make_room(self) -> bool:
        over = [group for group in self._groups.values() if group.over_ns is not None]
        if over:
            del self._groups[min(over, key=lambda group: (group.over_ns or 0, group.id)).id]
        return bool(over)

    def _write(self, group: Group, target: str, event: Event, now_ns: int) -> None:
        group.sequence += 1
        # For a machine every incident is an alert of its own; people want to see the worst of them.
        most = MOST_INCIDENTS if self._types[target] == "alertmanager" else MOST_SHOWN
        page = page_of(event, group.key, group.tenant, list(group.incidents.values()), now_ns, most)
        self._put(_key(target, group.id, str(group.sequence)), target, group.route, group.id, page)

    def _put(self, key: str, target: str, route: str, group: str, page: Page) -> None:
        replaced = self._outbox.put(Message(key, target, route, group, page, page.at_ns, page.at_ns))
        self.changed = True
        if replaced is not None:
            self.ledger.add(replaced, page.at_ns, "superseded", whole=True)

    def _forget(self, group: Group, now_ns: int) -> None:
        if group.over_ns is None:
            return
        if not group.told:
            for incident in group.incidents.values():
                self._skip(incident, f"{incident.status} before anybody was told", now_ns)
        elif now_ns - group.over_ns < KEPT_NS or any(self._outbox.undelivered(t, group.id) for t in group.told):
            return
        del self._groups[group.id]
        self.changed = True

    def _skip(self, incident: Told, reason: str, now_ns: int) -> None:
        known = f"{incident.id} {reason}"
        if known in self._passed:
            return
        self._passed[known] = None
        if len(self._passed) > MOST_PASSED:
            del self._passed[next(iter(self._passed))]
        self.skipped[reason.replace(" ", "_")] += 1
        self.ledger.skip(incident, reason, now_ns)

    def _manner(self, name: str) -> Manner:
        """That of the route, or for one that is not there any more one by which what was told comes to an end."""
        if name not in self._manners:
            self._manners[name] = Manner.of(Route(name=name, targets=[]), self._notify)
        return self._manners[name]

    def _beat(self, now_ns: int, well: bool) -> None:
        if not well:
            for target in self._notify.heartbeat_targets:
                self.changed = bool(self._outbox.remove(target, HEARTBEAT)) or self.changed
            return
        if 0 <= now_ns - self._heartbeat_ns < self._notify.heartbeat_m * MINUTE_NS:
            return
        for target in self._notify.heartbeat_targets:
            self._heartbeat_ns = now_ns
            page = Page(Event.HEARTBEAT, HEARTBEAT, "", "ok", "", now_ns, ())
            self._put(_key(target, HEARTBEAT, str(now_ns)), target, "", HEARTBEAT, page)


def _key(target: str, group: str, number: str) -> str:
    """The same message has the same key, whatever is killed."""
    return f"msg_{xxhash.xxh3_128_hexdigest(f'{target}{chr(31)}{group}{chr(31)}{number}'.encode())}"
