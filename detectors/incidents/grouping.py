"""From alerts to proposals: alerts that one part of the fleet explains, with their consequences, make one incident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.alerts import Alert, Node
from detectors.incidents.causes import Cells, Found
from detectors.incidents.inputs import View, subject
from detectors.incidents.kinds import READINGS, SYMPTOM, depth, leading
from detectors.windows.signals import BY_NAME, DERIVED, Form
from dimwatch.clock import NS_PER_SECOND

MINUTE: Final = 60 * NS_PER_SECOND
SAME_ONSET: Final = 30 * MINUTE
"""Onsets are estimates: at a few calls a minute they are this much off."""
CONSEQUENCE_LAG: Final = 60 * MINUTE
"""A consequence shows at most this much later than its cause."""
MOST_WAITING: Final = 500
MOST_PROPOSALS: Final = 40
"""At a time: in a storm the strongest are looked at, and the rest a minute later."""
_KEPT: Final = 10 * MINUTE
_HIDDEN_CAUSE: Final = 8.0
"""Nats, less the cost of the search, at which a symptom has a cause that does not alert yet: well above what a search
over twenty signals finds by chance."""
CLEAR_MARGIN: Final = 2.0
"""Nats by which a scope must beat the next one, or else"""
HOLD_UNCLEAR: Final = 3 * MINUTE
"""it is waited so long for more."""
_GOES_ON: Final = 4.0
"""Nats."""
_HIDDEN_SHIFT: Final = 0.3
"""Standard deviations that a level must have moved by to be such a cause: less may be the time of day."""
_HIDDEN_FACTOR: Final = 1.8
"""The same for counts, as a factor."""
_OF_OTHERS: Final = frozenset({"run_traffic"})
"""Looks for a cause too: where calls fail, the runs may stay away."""
_HOLD: Final = (0, 0, 1 * MINUTE, 5 * MINUTE)
"""By depth: how long a cause is waited for. What is near to one itself waits only until its scope is clear."""

_TIME_MATTERS: Final = 1.25
"""A latency or speed that has moved by a smaller factor opens no incident: the time of day and the weather of
providers do that (the probes of thefastest.ai scatter by 15 to 25% between hours)."""
_TIMES: Final = frozenset(signal.name for signal in BY_NAME.values() if signal.unit in ("s", "tokens/s"))
_TAIL_MATTERS: Final = 2.5
"""The same for the share of slow calls, which such weather doubles."""
_TAILS: Final = frozenset(signal.name for signal in DERIVED.values())

_ALERT: Final = tuple(name for name in Alert.__slots__ if name != "node")

Agents = frozenset[tuple[str, str]]
"""(tenant, agent)."""


def matters(alert: Alert) -> bool:
    """Whether what an alert complains of is enough to open an incident, so far. It may join one that is open."""
    if alert.observed <= 0 or alert.expected <= 0:
        return True
    factor = max(alert.observed / alert.expected, alert.expected / alert.observed)
    if alert.signal in _TAILS:
        return factor >= _TAIL_MATTERS
    return alert.signal not in _TIMES or factor >= _TIME_MATTERS


def goes_on(view: View, alert: Alert) -> bool:
    """Whether an alert has any evidence within the engine's look back. One that has none is about what is long over,
    where nothing came since that could have ended it."""
    cells = view.one(alert.signal, alert.since_ns)
    return cells.pooled(cells.mask(alert.node)).gain >= _GOES_ON


@dataclass(slots=True)
class Waiting:
    """An alert that belongs to no incident yet. It counts for some minutes after it fired last: once is enough."""

    alert: Alert
    first_ns: int
    last_ns: int
    pages: bool
    """Whether it had the evidence that the promise asks for at any time."""


class WaitingRoom:
    """Alerts that belong to no incident yet, bounded."""

    def __init__(self) -> None:
        self.alerts: dict[tuple[str, Node], Waiting] = {}

    def hear(self, alerts: Sequence[Alert], now_ns: int) -> None:
        """The alerts of a minute that no incident took."""
        for alert in alerts:
            key = (alert.signal, alert.node)
            known = self.alerts.get(key)
            if known is None:
                known = self.alerts[key] = Waiting(alert, now_ns, now_ns, False)
            known.alert, known.last_ns = alert, now_ns
            known.pages = known.pages or alert.evidence >= alert.threshold
        for key in [key for key, waiting in self.alerts.items() if waiting.last_ns < now_ns - _KEPT]:
            del self.alerts[key]
        if len(self.alerts) > MOST_WAITING:  # the weakest go: what is at the bottom of them alerts too
            weakest = sorted(self.alerts, key=lambda key: (_surplus(self.alerts[key].alert), key))
            for key in weakest[: len(self.alerts) - MOST_WAITING]:
                del self.alerts[key]

    def sorted(self) -> list[Waiting]:
        """Those nearest to a cause first, then those with the most evidence; the same for any order of arrival."""
        return sorted(
            self.alerts.values(),
            key=lambda w: (depth(w.alert.signal), -round(_surplus(w.alert), 6), w.alert.signal, w.alert.node),
        )

    def state(self) -> list[Any]:
        """As JSON."""
        return [
            [w.first_ns, w.last_ns, w.pages, w.alert.node.of, *(getattr(w.alert, name) for name in _ALERT)]
            for _, w in sorted(self.alerts.items())
        ]

    @classmethod
    def of(cls, state: Sequence[Any]) -> WaitingRoom:
        """Undo `state`."""
        room = cls()
        for first_ns, last_ns, pages, of, *rest in state:
            node = Node(tuple((name, value) for name, value in of))
            alert = Alert(node, **dict(zip(_ALERT, rest, strict=True)))
            room.alerts[(alert.signal, node)] = Waiting(alert, first_ns, last_ns, pages)
        return room

    def drop(self, alerts: Sequence[Alert]) -> None:
        """They have found their incident."""
        for alert in alerts:
            self.alerts.pop((alert.signal, alert.node), None)


@dataclass(slots=True)
class Proposal:
    """What would be an incident."""

    node: Node
    since_ns: int
    first_ns: int
    """When the first of its alerts fired."""
    signals: tuple[str, ...]
    """Whose evidence led to the node."""
    gain: float
    margin: float
    agents: Agents
    direct: list[Alert] = field(default_factory=list)
    consequences: list[Alert] = field(default_factory=list)
    pages: bool = False
    """Whether any of its alerts has, or had, the evidence that the promise asks for."""

    @property
    def depth(self) -> int:
        """How near to a cause its signals are."""
        return min(depth(signal) for signal in self.signals)

    def due(self, now_ns: int) -> bool:
        """Whether it goes on, its scope is clear, and a cause elsewhere has been waited for."""
        waited = now_ns - self.first_ns
        if self.gain < _GOES_ON:
            return False
        clear = self.margin >= CLEAR_MARGIN or waited >= HOLD_UNCLEAR
        return clear and waited >= _HOLD[self.depth]


def propose(view: View, waiting: Sequence[Waiting]) -> list[Proposal]:
    """Proposals that between them have the alerts, nearest to a cause first; in a storm not all of them yet."""
    proposals: list[Proposal] = []
    left = list(waiting)
    while left and len(proposals) < MOST_PROPOSALS:
        proposal, taken = _next(view, left)
        proposals.append(proposal)
        left = [other for number, other in enumerate(left) if number not in taken]
    return _merge(view, proposals)


def reach(view: View, scope: Node | None, agents: Agents, alert: Alert, since_ns: int) -> float:
    """How much of what an alert complains of, since a time, lies in a scope: 0 to 1.

    An alert about something else than the scope (runs, where a model is slow) is looked at by the agents that it
    concerns, as is any without a scope.
    """
    cells = view.one(alert.signal, since_ns)
    inside = cells.agents_mask(agents) if scope is None else cells.of(scope, agents)
    return cells.share(inside, cells.mask(alert.node))


def same_onset(since_ns: int, started_ns: int) -> bool:
    """Whether two estimated onsets may be the same."""
    return abs(since_ns - started_ns) <= SAME_ONSET


def follows(since_ns: int, started_ns: int) -> bool:
    """Whether what began at `since_ns` may come of what began at `started_ns`."""
    return -SAME_ONSET <= since_ns - started_ns <= CONSEQUENCE_LAG


def _next(view: View, left: Sequence[Waiting]) -> tuple[Proposal, set[int]]:
    """The proposal that the first alert leads to, and the numbers of those that it explains."""
    seed = left[0].alert
    hidden = _hidden_cause(view, seed)
    if hidden is not None:
        signals, since_ns, cells, found = hidden
    else:
        near = [w.alert for w in left if _together(seed, w.alert)]
        signals, since_ns = tuple(sorted({alert.signal for alert in near})), min(seed.since_ns, view.now_ns)
        cells = view.cells(signals, since_ns)
        found = _explaining(view, cells, seed)
    agents = cells.agents(found.mask)
    proposal = Proposal(found.node, since_ns, view.now_ns, signals, found.gain, found.margin, agents)
    taken: set[int] = set()
    for number, candidate in enumerate(left):
        alert = candidate.alert
        if number and not same_onset(alert.since_ns, since_ns):
            continue
        alike = BY_NAME[alert.signal].subject is subject(signals[0]) and depth(alert.signal) < SYMPTOM
        if number == 0 or (alike and reach(view, found.node, agents, alert, since_ns) >= 0.5):
            taken.add(number)
            proposal.first_ns = min(proposal.first_ns, candidate.first_ns)
            proposal.pages = proposal.pages or candidate.pages
            (proposal.direct if alike else proposal.consequences).append(alert)
    own = {alert.signal for alert in proposal.direct} | {signal for signal in signals if hidden is not None}
    if own:
        proposal.signals = tuple(sorted(own))
    return proposal, taken


def _together(seed: Alert, other: Alert) -> bool:
    """Whether two alerts may be of one fault: about the same things, from the same time, both symptoms or neither."""
    if other == seed:
        return True
    return (
        subject(seed.signal) is subject(other.signal)
        and same_onset(seed.since_ns, other.since_ns)
        and (depth(seed.signal) == SYMPTOM) == (depth(other.signal) == SYMPTOM)
    )


def _explaining(view: View, cells: Cells, seed: Alert) -> Found:
    """The part of the fleet that explains the alert: the best one that has most of what it complains of."""
    own = view.one(seed.signal, seed.since_ns)
    of = own.mask(seed.node)
    for found in cells.search():
        if own.share(own.mask(found.node), of) >= 0.5:
            return found
    mask = cells.mask(seed.node)
    return Found(seed.node, mask, cells.gain(mask), 0.0)


def _hidden_cause(view: View, seed: Alert) -> tuple[tuple[str, ...], int, Cells, Found] | None:
    """What does not alert yet and is nearer to a cause: a symptom looks for it in the calls of its agents."""
    if depth(seed.signal) < SYMPTOM and seed.signal not in _OF_OTHERS:
        return None
    own = view.one(seed.signal, seed.since_ns)
    of = own.mask(seed.node)
    best: tuple[tuple[str, ...], int, Cells, Found] | None = None
    for signal in sorted(READINGS):
        if depth(signal) >= depth(seed.signal):
            continue
        cells = view.one(signal, seed.since_ns)
        found = next(iter(cells.search(least=_HIDDEN_CAUSE, most=1)), None)
        if found is None or not _large(cells, found) or own.share(own.agents_mask(cells.agents(found.mask)), of) < 0.5:
            continue
        if best is None or (depth(signal), -found.gain) < (depth(leading(best[0])), -best[3].gain):
            best = (signal,), seed.since_ns, cells, found
    return best


def _large(cells: Cells, found: Found) -> bool:
    """Whether a cause is more than the ups and downs of a day, of which a long time makes much evidence too."""
    pooled = cells.pooled(found.mask)
    if cells.layers[0].signal.form is Form.LEVEL:
        return abs(pooled.observed) >= _HIDDEN_SHIFT * pooled.expected
    return pooled.observed >= _HIDDEN_FACTOR * pooled.expected or pooled.observed * _HIDDEN_FACTOR <= pooled.expected


def _merge(view: View, proposals: Sequence[Proposal]) -> list[Proposal]:
    """Proposals that are consequences of others join them."""
    order = sorted(proposals, key=lambda p: (p.depth, _rank(p), -round(p.gain, 6), p.node))
    kept: list[Proposal] = []
    for proposal in order:
        cause = next((other for other in kept if _explains(view, other, proposal)), None)
        if cause is None:
            kept.append(proposal)
            continue
        if proposal.depth == cause.depth and proposal.node.within(cause.node) and _subject(proposal) == _subject(cause):
            cause.direct.extend(proposal.direct)
            cause.consequences.extend(proposal.consequences)
        else:
            cause.consequences.extend((*proposal.direct, *proposal.consequences))
        cause.first_ns = min(cause.first_ns, proposal.first_ns)
        cause.pages = cause.pages or proposal.pages
    return kept


def _explains(view: View, cause: Proposal, proposal: Proposal) -> bool:
    if not follows(proposal.since_ns, cause.since_ns):
        return False
    if proposal.node.within(cause.node) and _subject(proposal) == _subject(cause):
        return True
    if proposal.depth == 0 or cause.depth > proposal.depth:
        return False
    alerts = (*proposal.direct, *proposal.consequences)
    return all(reach(view, cause.node, cause.agents, alert, cause.since_ns) >= 0.5 for alert in alerts)


def _subject(proposal: Proposal) -> str:
    return subject(leading(proposal.signals)).value


def _rank(proposal: Proposal) -> int:
    return list(READINGS).index(leading(proposal.signals))


def _surplus(alert: Alert) -> float:
    return alert.evidence - alert.threshold
