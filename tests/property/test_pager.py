"""Whatever happens to incidents, targets and the notifier itself: in the end everybody knows how things are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.incidents.incident import Severity, Status
from detectors.notify.outbox import Outcome, Result
from detectors.notify.page import Page
from detectors.notify.pager import Pager
from dimwatch.clock import NS_PER_SECOND
from dimwatch.targets import Notify
from tests.told_incidents import START_NS, told

HOUR_NS = 3600 * NS_PER_SECOND
TARGETS = ("a", "b")
OVER = (Status.RESOLVED.value, Status.FALSE.value)
STATUSES = [Status.OPEN, Status.ACKNOWLEDGED, Status.SILENCED, Status.RESOLVED, Status.FALSE]


def notify(grouped: bool) -> Notify:
    targets = [{"name": name, "type": "webhook", "url": "http://127.0.0.1"} for name in TARGETS]
    route: dict[str, Any] = {"name": "r", "targets": list(TARGETS), "repeat_h": 100, "wait_s": 5}
    return Notify.model_validate({"targets": targets, "routes": [route | ({"group_by": ["kind"]} if grouped else {})]})


class World:
    """A notifier that is killed and targets that fail, on a clock of its own."""

    def __init__(self, grouped: bool) -> None:
        self.settings = notify(grouped)
        self.now_ns = START_NS
        self.pager = Pager(self.settings, START_NS)
        self.written = self.pager.snapshot()
        """What a restart finds."""
        self.versions: dict[str, int] = {}
        self.status: dict[str, str] = {}
        self.arrived: dict[str, dict[str, Page]] = {name: {} for name in TARGETS}
        """By target and key, as a receiver that honours the key has them."""
        self.bodies: dict[str, Page] = {}

    def change(self, id_: str, status: Status, severity: Severity) -> None:
        version = self.versions[id_] = self.versions.get(id_, 0) + 1
        self.status[id_] = status.value
        opened_ns = START_NS + len(self.versions) * NS_PER_SECOND
        self.pager.hear(told(id_, opened_ns, status=status, severity=severity, version=version), self.now_ns)
        self.written = self.pager.snapshot()

    def turn(self, seconds: int, outcome: Outcome, killed: int) -> None:
        """Time passes; `killed`: 1 before the attempts, 2 after them and before that is written, 0 not at all."""
        self.now_ns += seconds * NS_PER_SECOND
        self.pager.look(self.now_ns)
        due = self.pager.start(self.now_ns, 16)
        self.written = self.pager.snapshot()
        if killed == 1:
            return self.restart()
        for message in due:
            assert self.bodies.setdefault(message.key, message.page) == message.page, "a key has one body"
            if outcome is Outcome.DELIVERED:
                self.arrived[message.target].setdefault(message.key, message.page)
            if killed != 2:
                self.pager.finish(message.key, Result(outcome), self.now_ns)
        if killed == 2:
            return self.restart()
        self.written = self.pager.snapshot()
        return None

    def restart(self) -> None:
        self.pager = Pager(self.settings, self.now_ns)
        self.pager.restore(self.written, self.now_ns)

    def known(self, target: str, id_: str) -> str | None:
        """The status of an incident in the last message to a target that tells of it."""
        pages = [page for page in self.arrived[target].values() if any(one.id == id_ for one in page.incidents)]
        if not pages:
            return None
        last = max(pages, key=lambda page: page.at_ns)
        return next(one.status for one in last.incidents if one.id == id_)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("change"),
            st.sampled_from(["i1", "i2", "i3"]),
            st.sampled_from(STATUSES),
            st.sampled_from([Severity.WARNING, Severity.CRITICAL]),
        ),
        st.tuples(
            st.just("turn"),
            st.sampled_from([1, 6, 120, 3600]),
            st.sampled_from([Outcome.DELIVERED, Outcome.FAILED, Outcome.REFUSED]),
            st.sampled_from([0, 0, 1, 2]),
        ),
    ),
    max_size=40,
)


@given(st.booleans(), ACTIONS)
@settings(max_examples=60, deadline=None)
def test_in_the_end_everybody_knows_how_things_are(grouped: bool, actions: list[tuple[Any, ...]]) -> None:
    world = World(grouped)
    for what, *given_ in actions:
        if what == "change":
            world.change(*given_)
        else:
            seconds, outcome, killed = given_
            world.turn(seconds, outcome, killed)
    for _ in range(20):
        world.turn(700, Outcome.DELIVERED, 0)
    assert world.pager.waiting == 0
    for target in TARGETS:
        for id_, status in world.status.items():
            known = world.known(target, id_)
            if status == Status.OPEN:
                assert known == Status.OPEN, f"{target} does not know that {id_} is open"
            elif status in OVER and known is not None:
                assert known in OVER or grouped, f"{target} believes that {id_} is {known}"
    for target in TARGETS:
        if world.status and all(status in OVER for status in world.status.values()):
            pages = sorted(world.arrived[target].values(), key=lambda page: page.at_ns)
            groups = {page.key: page for page in pages}
            assert all(page.status in OVER for page in groups.values()), "every page has its end"
