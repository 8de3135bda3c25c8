"""What all forms of signals share: the guard ring, freezing, the streams of nodes, and the life of an alert."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors.series import dispersion, edetector
from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.clockwork import BLOCK, DAY, NEVER, Clockwork
from detectors.series.log import Log
from detectors.series.nodes import Pools
from detectors.series.table import Table
from detectors.windows.signals import Form, Signal, Worse
from dimwatch.settings import Detection

_MIN_AGE: Final = 240
"""Minutes before a series may be armed: a fault that was there from the start is not told from normal by less."""
_BACK: Final = float(np.log(1e4))
"""Evidence that it is back to normal at which an alert ends."""
_MIXED: Final = 2.5
"""What mixing over effects costs at most, about, in nats."""
_CALM: Final = 10
"""Minutes that it must have pointed that way without a break."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One minute of all nodes: log-likelihood ratios of the streams, and what alerts say."""

    gain: NDArray[np.float32]
    """Shape (streams, bars times effects)."""
    n: FloatArray
    """Shape (nodes,)."""
    observed: FloatArray
    expected: FloatArray


class Bank(ABC):
    """All series of one form. Minutes are numbers since the epoch."""

    form: ClassVar[Form]
    cut: ClassVar[bool] = True
    """Whether release and region cut its leaves into cells."""
    effects: ClassVar[FloatArray]
    shares: ClassVar[FloatArray]
    """Of the evidence, what is staked on each effect; they add up to one."""
    bars: ClassVar[tuple[float, ...]] = (0.0,)
    """What is normal may have several bounds. Evidence is the least of that against each; against one that is exceeded
    but seldom, this much counts as given, in nats."""
    leaf_columns: ClassVar[dict[str, tuple[Any, int, float]]]
    node_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {}
    """Of every node, one value for each block of the guard."""
    usual_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {}
    """Of every node, one value."""
    windows: ClassVar[int] = 2
    """Windows that an alert takes at least."""
    ring: ClassVar[tuple[str, ...]]
    """The leaf columns that hold the guard ring, in the order of `_add`'s sums."""

    def __init__(self, settings: Detection, signals: dict[int, Signal]) -> None:
        self.settings = settings
        self.clockwork = Clockwork(settings.half_life_h, settings.guard_h)
        self.signals = signals
        self.pools = Pools({number: signal.subject for number, signal in signals.items()}, cut=self.cut)
        width = self.clockwork.ring
        life: dict[str, tuple[Any, int, float]] = {
            "born": (np.int32, 0, 0),
            "skip_from": (np.int32, 0, NEVER),
            "skip_to": (np.int32, 0, -1),
            "armed": (np.bool_, 0, False),
        }
        rings: dict[str, tuple[Any, int, float]] = dict.fromkeys(self.ring, (np.float32, width, 0.0))
        self.leaf = Table(**life, **rings, **self.leaf_columns)
        self.node = Table(
            ring_deviation=(np.float32, width, 0.0),
            ring_variance=(np.float32, width, 0.0),
            **dispersion.COLUMNS,
            **self.usual_columns,
            **{name: (kind, width, fill) for name, (kind, _, fill) in self.node_columns.items()},
        )
        grid = len(self.effects) * len(self.bars)
        self.stream = Table(
            node=(np.int64, 0, 0),
            up=(np.bool_, 0, True),
            pages=(np.bool_, 0, True),
            wealth=(np.float32, grid, 0.0),
            cusum=(np.float32, grid, 0.0),
            start=(np.int32, grid, 0),
            firing=(np.bool_, 0, False),
            onset=(np.int32, 0, 0),
            back=(np.float64, 0, 0.0),
            calm=(np.int32, 0, 0),
            observed=(np.float64, 0, 0.0),
            expected=(np.float64, 0, 0.0),
            n=(np.float64, 0, 0.0),
        )
        self.seen: IntArray = np.empty(0, dtype=np.int64)
        """The last minute with anything in it, by cell."""
        self.log = Log(round(settings.guard_h * 60))
        self.block = -1
        self._armed: Mask = np.empty(0, dtype=bool)
        self.threshold: FloatArray = np.empty(0)
        """H of each stream; to be set anew when there is another version."""
        self.version = 0
        """Counts the times that streams came, went, or may have been armed or disarmed."""

    # learning

    def learn(self, keys: IntArray, minute: int) -> None:
        """Make room for new cells (trimmed keys)."""
        leaves, nodes = self.leaf.rows, self.node.rows
        self.pools.add(keys)
        self.leaf.grow(len(self.pools.leaves))
        self.leaf["born"][leaves:] = minute
        self.seen = np.append(self.seen, np.full(len(self.pools.cells) - len(self.seen), minute))
        self.node.grow(len(self.pools.nodes))
        self._add_streams(nodes, minute)
        self._refresh_all(minute)

    def forget(self, before: int) -> IntArray | None:
        """Make room: drop the cells that had nothing since then, and what is of them alone. Returns the old numbers of
        the leaves that stay, None if there is nothing to drop. Between minutes."""
        cells = np.flatnonzero(self.seen >= before)
        if len(cells) == len(self.seen):
            return None
        leaves, nodes = self.pools.take(cells)
        streams = np.flatnonzero(np.isin(self.stream["node"], nodes))
        self.seen, self._armed = self.seen[cells], self._armed[streams]
        self.version += 1
        for table, rows in ((self.leaf, leaves), (self.node, nodes), (self.stream, streams)):
            table.take(rows)
        self.stream["node"] = np.searchsorted(nodes, self.stream["node"])
        self.log.take(cells)
        return leaves

    def step(self, minute: int, cells: IntArray, n: FloatArray, total: FloatArray, squares: FloatArray) -> None:
        """One closed minute; cells that are not named had nothing."""
        if not self.leaf.rows:
            return
        if minute // BLOCK != self.block:
            self._turn(minute)
        self.seen[cells[n > 0]] = minute
        count = len(self.pools.cells)
        sums = np.stack([add_up(cells, values, count) for values in (n, total, squares)])
        self._add(sums, self.block % self.clockwork.ring)
        judged = self._judge(minute, sums)
        node, table = self.stream["node"], self.stream
        cap = (self.threshold + _MIXED) / self.windows
        active = self.streams_armed() & (judged.n[node] > 0)
        edetector.advance(table["wealth"], table["cusum"], table["start"], judged.gain, active, minute, cap)
        self._judged = judged

    def streams_armed(self) -> Mask:
        """Which streams are watched now."""
        return self._armed

    # alerts

    def evidence(self) -> NDArray[np.float32]:
        """The evidence of all streams, in nats."""
        return edetector.mixed(self.stream["wealth"], self.shares, self.bars)

    def alerts(self, minute: int) -> IntArray:
        """The streams that fire as of this minute, after those that are over have ended."""
        if not self.leaf.rows:
            return np.empty(0, dtype=np.int64)
        table = self.stream
        firing = table["firing"].copy()
        ended = self._follow(np.flatnonzero(firing), minute)
        fresh = ~firing & self.streams_armed() & (self.evidence() >= self.threshold)
        for stream in np.flatnonzero(fresh):
            self._open(int(stream), minute)
        if len(ended):
            self._reset(ended, minute)
        if len(ended) or fresh.any():
            self._freeze(minute)
        old = np.flatnonzero(table["firing"] & (minute - table["onset"] >= DAY))
        if len(old):
            # All at once: a second time would forget what a leaf of several of them has learned the first.
            nodes = np.isin(np.arange(self.node.rows), table["node"][old])
            self.rebaseline(self.pools.leaves_within(nodes), int(table["onset"][old].max()), minute)
        return np.flatnonzero(table["firing"])

    def rebaseline(self, leaves: IntArray, since: int, minute: int) -> None:
        """Forget what was normal for these leaves; what they did since then is."""
        if not len(leaves):
            return
        width = self.clockwork.ring
        for back in range(width - 1, 0, -1):
            block = self.block - back
            slot = block % width
            if block * BLOCK < since:
                for name in self.ring:
                    self.leaf[name][leaves, slot] = 0.0
        mask = np.zeros(self.leaf.rows, dtype=bool)
        mask[leaves] = True
        self._forget(mask)
        self.leaf["armed"][leaves] = False  # nothing is known yet that a block could be wild against
        for back in range(width - 1, 0, -1):
            self._absorb(self.block - back, mask)
            for name in self.ring:
                self.leaf[name][leaves, (self.block - back) % width] = 0.0
        self.leaf["skip_from"][leaves] = NEVER
        self.leaf["skip_to"][leaves] = -1
        touched = np.zeros(self.node.rows, dtype=bool)
        touched[self.pools.pair_node[mask[self.pools.pair_leaf]]] = True
        self.node["ring_deviation"][touched] = 0.0
        self.node["ring_variance"][touched] = 0.0
        self._reset(np.flatnonzero(touched[self.stream["node"]]), minute)
        self._freeze(minute)
        self._refresh_all(minute)

    def settle(self, nodes: Mask, minute: int) -> None:
        """The streams of these nodes that do not fire begin anew."""
        self._reset(np.flatnonzero(nodes[self.stream["node"]] & ~self.stream["firing"]), minute)

    # state

    @property
    def nbytes(self) -> int:
        """Memory of the columns and of the log."""
        return self.leaf.nbytes + self.node.nbytes + self.stream.nbytes + self.log.nbytes

    def state(self) -> dict[str, Any]:
        """Everything that the next minute depends on."""
        return {
            "pools": self.pools.state(),
            "leaf": self.leaf.state(),
            "node": self.node.state(),
            "stream": self.stream.state(),
            "log": self.log.state(),
            "block": np.array([self.block]),
            "armed": self._armed,
            "seen": self.seen,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.pools.load(state["pools"])
        self.leaf.load(state["leaf"])
        self.node.load(state["node"])
        self.stream.load(state["stream"])
        self.log.load(state["log"])
        self.block = int(state["block"][0])
        self._armed = state["armed"]
        self.seen = state["seen"]

    # what a form says

    @abstractmethod
    def _add(self, sums: FloatArray, slot: int) -> None:
        """Put the sums of a minute (shape (3, cells): n, total, squares) into the ring."""

    @abstractmethod
    def _judge(self, minute: int, sums: FloatArray) -> Judged:
        """Reduce a minute to log-likelihood ratios; adds to the nodes' ring and to the log."""

    @abstractmethod
    def _absorb(self, block: int, chosen: Mask) -> None:
        """Learn a block from the ring into the baseline of the chosen leaves."""

    @abstractmethod
    def _refresh(self, minute: int) -> None:
        """Renew what is expected, and which leaves are armed."""

    @abstractmethod
    def _forget(self, chosen: Mask) -> None:
        """Empty the baseline of the chosen leaves."""

    @abstractmethod
    def _weight(self, variance: FloatArray) -> FloatArray:
        """How much a block of this variance tells of over-dispersion, 0 to 1."""

    @abstractmethod
    def _against(self, streams: IntArray) -> FloatArray:
        """The log-likelihood ratio of this minute: what each firing stream has shown, against the baseline itself
        (no margin: half-way back is the mark)."""

    # shared

    def _absorb_hour(self, block: int) -> None:  # noqa: B027 - most forms learn nothing then
        """Learn of a block what is learned also under an alert."""

    def _scatter(self, slot: int, calm: Mask) -> tuple[FloatArray, FloatArray]:
        """Chi^2 of a block of all nodes against chance, and how much it tells, 0 to 1; nothing where it is not calm."""
        deviation = self.node["ring_deviation"][:, slot].astype(np.float64)
        variance = self.node["ring_variance"][:, slot].astype(np.float64)
        chi, width = dispersion.differences(self.node, deviation, variance, calm)
        return chi, self._weight(width)

    def _old_enough(self, minute: int) -> Mask:
        old: Mask = minute - self.leaf["born"] >= _MIN_AGE
        return old

    def _unseen(self, minute: int) -> FloatArray:
        """1 for leaves whose hour of the day has not been learned yet."""
        return (minute - self.leaf["born"] < DAY + self.settings.guard_h * 60).astype(np.float64)

    def _per_node(self, by_leaf: FloatArray) -> FloatArray:
        return add_up(self.pools.pair_node, by_leaf[self.pools.pair_leaf], self.node.rows)

    def _turn(self, minute: int) -> None:
        """A block has ended: learn what leaves the guard."""
        width, now = self.clockwork.ring, minute // BLOCK
        first = self.block + 1 if self.block >= 0 else now
        for block in range(max(first, now - width), now + 1):
            self._leave(block - width)
            slot = block % width
            for name in self.ring:
                self.leaf[name][:, slot] = 0.0
            for name in ("ring_deviation", "ring_variance", *self.node_columns):
                self.node[name][:, slot] = 0.0
        self.block = now
        self._refresh_all(minute)

    def _leave(self, block: int) -> None:
        begin = block * BLOCK
        skip = (begin + BLOCK > self.leaf["skip_from"]) & (begin <= self.leaf["skip_to"])
        slot = block % self.clockwork.ring
        self._absorb(block, ~skip)
        self._absorb_hour(block)
        calm = self._per_node(skip.astype(np.float64)) == 0
        chi, weight = self._scatter(slot, calm)
        dispersion.absorb(self.node, self.pools.node_signal, chi, weight)

    def _refresh_all(self, minute: int) -> None:
        self._refresh(minute)
        armed = self._per_node(self.leaf["armed"].astype(np.float64)) > 0
        self._armed = (armed & self.pools.watched)[self.stream["node"]]
        self.version += 1

    def _add_streams(self, nodes: int, minute: int) -> None:
        rows: list[tuple[int, bool, bool]] = []
        for node in range(nodes, self.node.rows):
            signal = self.signals[int(self.pools.node_signal[node])]
            if signal.worse is not Worse.DOWN:
                rows.append((node, True, signal.pages))
            if signal.worse is not Worse.UP:
                rows.append((node, False, signal.pages))
        known = self.stream.rows
        self.stream.grow(known + len(rows))
        for name, values in zip(("node", "up", "pages"), zip(*rows, strict=True), strict=True) if rows else ():
            self.stream[name][known:] = values
        self.stream["start"][known:] = minute

    def _open(self, stream: int, minute: int) -> None:
        table = self.stream
        onset = int(
            table["start"][stream][int(np.argmax(table["wealth"][stream] * np.tile(self.shares, len(self.bars))))]
        )
        table["firing"][stream] = True
        table["onset"][stream] = min(onset, minute)
        table["back"][stream], table["calm"][stream] = 0.0, 0
        cells, values = self.log.since(onset)
        own = np.isin(cells, self.pools.cells_of(int(table["node"][stream])))
        for position, name in enumerate(("n", "observed", "expected")):
            table[name][stream] = values[own, position].sum() if len(cells) else 0.0

    def _follow(self, streams: IntArray, minute: int) -> IntArray:
        """Firing streams take in this minute; those that are back to normal are returned."""
        if not len(streams):
            return streams
        table, node = self.stream, self.stream["node"][streams]
        table["n"][streams] += self._judged.n[node]
        table["observed"][streams] += self._judged.observed[node]
        table["expected"][streams] += self._judged.expected[node]
        back = np.maximum(0.0, table["back"][streams] - self._against(streams))
        table["back"][streams] = back
        table["calm"][streams] = np.where(back > 0, table["calm"][streams] + 1, 0)
        over: IntArray = streams[(back >= _BACK) & (table["calm"][streams] >= _CALM)]
        return over

    def _reset(self, streams: IntArray, minute: int) -> None:
        for name in ("wealth", "cusum", "firing", "back", "calm", "observed", "expected", "n"):
            self.stream[name][streams] = 0
        self.stream["start"][streams] = minute + 1

    def _freeze(self, minute: int) -> None:
        """What leaves under an alert do is not learned, from its onset until it ends."""
        firing = np.flatnonzero(self.stream["firing"])
        onset = np.full(self.node.rows, NEVER, dtype=np.int64)
        np.minimum.at(onset, self.stream["node"][firing], self.stream["onset"][firing])
        by_leaf = np.full(self.leaf.rows, NEVER, dtype=np.int64)
        np.minimum.at(by_leaf, self.pools.pair_leaf, onset[self.pools.pair_node])
        frozen, was = by_leaf < NEVER, self.leaf["skip_to"] == NEVER
        recent = self.leaf["skip_to"] >= minute - self.settings.guard_h * 60 - BLOCK
        before = np.where(recent, self.leaf["skip_from"], NEVER)
        self.leaf["skip_from"] = np.where(frozen, np.minimum(before, by_leaf), self.leaf["skip_from"])
        self.leaf["skip_to"] = np.where(frozen, NEVER, np.where(was, minute, self.leaf["skip_to"]))
