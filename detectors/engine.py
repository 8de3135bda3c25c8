"""The engine: closed minutes in, alerts out, under one promise about false pages.

The promise. Every watched stream (a node, a signal, a direction) carries an e-detector, and pages when its evidence
reaches H = ln(streams x minutes a week / false pages a week). As long as what is normal stays within its bound
(baseline plus margin, tolerance and doubt, divided by over-dispersion), each stream reaches H within a week with
a probability of at most minutes / e^H, so that all of them together cost at most `false_pages_per_week` expected false
pages a week (detectors.series.edetector has the argument; dependence between streams does not matter to a sum of
expectations). Streams count from when their baseline is armed; a minute without trials neither helps nor costs.
`streams` only grows, since evidence that was gathered under a lower count must not be judged by a lower bar later.
What is measured about it: `python -m benchmarks.statistics`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.alerts import DIMENSIONS, Alert, Node
from detectors.evidence import Evidence
from detectors.series.arrays import FloatArray, IntArray
from detectors.series.bank import Bank
from detectors.series.clockwork import BLOCK, WEEK
from detectors.series.hits import Hits
from detectors.series.keys import Vocabulary
from detectors.series.level import Level
from detectors.series.pack import pack, unpack
from detectors.series.silence import Silence
from detectors.series.spending import Spending
from detectors.series.tail import Tail
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import DERIVED, SIGNALS, Form, Signal
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection

log = logging.getLogger(__name__)


_FORMS: Final[dict[Form, Callable[[Detection, dict[int, Signal]], Bank]]] = {
    Form.HITS: Hits,
    Form.LEVEL: Level,
    Form.EVENTS: lambda settings, signals: Silence(settings, signals, cut=False),
    Form.AMOUNT: lambda settings, signals: Spending(settings, signals, cut=False),
}


class Engine:
    """All series of all signals. Not for use by several threads."""

    def __init__(self, settings: Detection, signals: Sequence[Signal] = SIGNALS) -> None:
        self._settings = settings
        derived = [DERIVED[signal.name] for signal in signals if signal.name in DERIVED]
        self._signals = (*signals, *derived)
        self._number = {signal.name: number for number, signal in enumerate(self._signals)}
        self._derived = {
            self._number[name]: self._number[to.name] for name, to in DERIVED.items() if name in self._number
        }
        # Both have a last entry, which signal -1 finds.
        self._form = np.array([list(Form).index(of.form) for of in self._signals] + [-1])
        self._to_derived = np.array([self._derived.get(number, -1) for number in range(len(self._signals) + 1)])
        self._banks = {
            form: make(settings, {number: of for number, of in enumerate(self._signals) if of.form is form})
            for form, make in _FORMS.items()
        }
        self._tail = Tail()
        self._words = Vocabulary()
        self._names: dict[tuple[int, ...], Node] = {}
        self._minute = -1
        self._full = False
        self.streams = 0
        """Streams that are watched and may page; the most that there were."""
        self.refused = 0
        """Rows of points that were not looked at, since there were more series than `max_series`, or not numbers."""

    @property
    def threshold(self) -> float:
        """H, in nats."""
        return float(np.log(max(self.streams, 1) * WEEK / self._settings.false_pages_per_week))

    @property
    def series(self) -> int:
        """Cells that are kept."""
        return sum(len(bank.pools.cells) for bank in self._banks.values())

    @property
    def nbytes(self) -> int:
        """Memory of all state."""
        return sum(bank.nbytes for bank in self._banks.values())

    def step(self, minute: Minute) -> list[Alert]:
        """Every alert that fires as of this minute, sorted by (signal, node). Minutes come in order, without gaps.

        Raises InvalidError for a minute that is not the next one.
        """
        now = minute.start_ns // MINUTE_NS
        if self._minute >= 0 and now != self._minute + 1:
            raise InvalidError(f"minute {now} after {self._minute}: close every minute once, in order, also empty ones")
        self._minute = now
        keys, values = self._rows(minute.points)
        signal = keys[:, -1]
        for form, bank in self._banks.items():
            rows = np.flatnonzero(self._form[signal] == list(Form).index(form))
            own_keys, own = bank.pools.trim(keys[rows]), values[:, rows]
            if form is Form.HITS:
                more_keys, more = self._slow(minute.points, keys, values)
                own_keys, own = np.concatenate([own_keys, more_keys]), np.concatenate([own, more], axis=1)
            self._feed(bank, now, own_keys, own)
        if now % BLOCK == 0:
            self._tail.renew(self._levels)
        self.streams = max(self.streams, self._count())
        return self._alerts(now)

    def evidence(self, signal: str, since_ns: int, *, worse: bool = True) -> Evidence:
        """Each cell's sums since then, at most the guard back; older minutes to the nearest ten.

        `worse` is false for the downward side of a signal that watches both. Raises KeyError for an unknown signal.
        """
        number = self._number[signal]
        of = self._signals[number]
        bank = self._banks[of.form]
        cells, values = bank.log.since(since_ns // MINUTE_NS)
        own = bank.pools.cell_signal[cells] == number
        cells, values = cells[own], values[own]
        nodes = [self._node(row) for row in bank.pools.cells.rows[cells]]
        if not len(cells):
            return Evidence(nodes, np.empty(0), np.empty(0), np.empty(0), of.form)
        if of.form is Form.LEVEL:
            up = of.worse is not of.worse.DOWN and worse
            return Evidence(nodes, values[:, 3] * (1.0 if up else -1.0), values[:, 4], values[:, 0], of.form)
        return Evidence(nodes, values[:, 1], values[:, 2], values[:, 0], of.form)

    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None:
        """What the leaves of this node do since then is normal: their alerts end, and what was before is forgotten."""
        numbers = {self._number[signal] for signal in signals}
        numbers |= {to for number, to in self._derived.items() if number in numbers}
        for bank in self._banks.values():
            rows = bank.pools.cells.rows
            mask = np.isin(rows[:, -1], list(numbers))
            for dimension, value in node.of:
                column = DIMENSIONS.index(dimension)
                words = self._words.values[column]
                mask &= rows[:, column] == (words.index(value) if value in words else -1)
            bank.rebaseline(np.unique(bank.pools.cell_leaf[mask]), since_ns // MINUTE_NS, self._minute)

    def snapshot(self) -> bytes:
        """All state, exactly."""
        return pack(
            {
                "words": {str(position): words for position, words in enumerate(self._words.values)},
                "signals": [signal.name for signal in self._signals],
                "minute": self._minute,
                "streams": self.streams,
                "refused": self.refused,
                "tail": self._tail.marks.state(),
                "banks": {form.value: bank.state() for form, bank in self._banks.items()},
            }
        )

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot as if nothing had happened. Raises InvalidError if it is of other signals."""
        parts = unpack(state)
        if parts["signals"] != [signal.name for signal in self._signals]:
            raise InvalidError("a snapshot of an engine with other signals: start without it and replay the points")
        self._words.values = [parts["words"][str(position)] for position in range(len(DIMENSIONS))]
        self._names.clear()
        self._minute, self.streams, self.refused = parts["minute"], parts["streams"], parts["refused"]
        self._tail.marks.load(parts["tail"])
        for form, bank in self._banks.items():
            bank.load(parts["banks"][form.value])

    @property
    def _levels(self) -> Level:
        bank = self._banks[Form.LEVEL]
        assert isinstance(bank, Level)
        return bank

    def _rows(self, points: pa.Table) -> tuple[IntArray, FloatArray]:
        """Keys (dimensions and signal) and n, total, squares of the rows; rows of unknown signals have signal -1."""
        keys = np.empty((points.num_rows, len(DIMENSIONS) + 1), dtype=np.int64)
        if not points.num_rows:
            return keys, np.empty((3, 0))
        keys[:, :-1] = self._words.codes(points)
        names = points.column("signal").combine_chunks().dictionary_encode()
        numbers = np.array([self._number.get(name, -1) for name in names.dictionary.to_pylist()], dtype=np.int64)
        keys[:, -1] = numbers[names.indices.to_numpy(zero_copy_only=False)]
        values = np.stack([points.column(name).to_numpy().astype(np.float64) for name in ("n", "total", "squares")])
        good = np.isfinite(values).all(axis=0) & (values[0] > 0)
        self.refused += int((~good).sum())
        keys[~good, -1] = -1
        return keys, values

    def _slow(self, points: pa.Table, keys: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Rows of the derived signals."""
        levels = self._levels
        rows = np.flatnonzero(self._to_derived[keys[:, -1]] >= 0)
        own = levels.pools.trim(keys[rows])
        cells = levels.pools.known(own)
        rows, own, cells = rows[cells >= 0], own[cells >= 0], cells[cells >= 0]
        marked = levels.pools.cell_leaf[cells] < self._tail.marks.rows
        rows, own, cells = rows[marked], own[marked], cells[marked]
        lists = points.select(["bucket", "bucket_count"]).take(pa.array(rows)).combine_chunks()
        bucket, count = lists.column(0), lists.column(1)
        if not len(rows):
            return own, np.empty((3, 0))
        n, hits = self._tail.hits(levels.pools.cell_leaf[cells], bucket.combine_chunks(), count.combine_chunks())
        some = n > 0
        own[:, -1] = self._to_derived[own[:, -1]]
        return own[some], np.stack([n, hits, np.zeros(len(n))])[:, some]

    def _feed(self, bank: Bank, now: int, keys: IntArray, values: FloatArray) -> None:
        cells = bank.pools.known(keys)
        new = np.flatnonzero(cells < 0)
        if len(new):
            fresh = np.unique(keys[new], axis=0)
            room = max(0, self._settings.max_series - self.series)
            if len(fresh) > room and not self._full:
                self._full = True
                log.warning("more than %d series: new ones are not watched (raise max_series)", self.series)
            bank.learn(fresh[:room], now)
            cells = bank.pools.known(keys)
        kept = cells >= 0
        self.refused += int((~kept).sum())
        bank.threshold = self.threshold
        bank.step(now, cells[kept], *values[:, kept])

    def _count(self) -> int:
        return sum(int((bank.streams_armed() & bank.stream["pages"]).sum()) for bank in self._banks.values())

    def _alerts(self, now: int) -> list[Alert]:
        threshold = self.threshold
        alerts = []
        for bank in self._banks.values():
            bank.threshold = threshold
            streams = bank.alerts(now)
            alerts += [self._alert(bank, int(stream), threshold) for stream in streams]
        return sorted(alerts, key=lambda alert: (alert.signal, alert.node, alert.worse))

    def _alert(self, bank: Bank, stream: int, threshold: float) -> Alert:
        table = bank.stream
        key = bank.pools.nodes.rows[int(table["node"][stream])]
        signal = self._signals[int(key[-1])]
        n, observed, expected = (float(table[name][stream]) for name in ("n", "observed", "expected"))
        share = max(n, 1e-9)
        ratio, usual = observed / share, expected / share
        if signal.form is Form.LEVEL:
            ratio, usual = float(np.exp(ratio)), float(np.exp(usual))
        return Alert(
            node=self._node(key),
            signal=signal.name,
            evidence=float(np.log(max(float(table["wealth"][stream].mean()), 1e-300))),
            threshold=threshold,
            since_ns=int(table["onset"][stream]) * MINUTE_NS,
            observed=ratio,
            expected=usual,
            n=observed if signal.form is Form.EVENTS else n,
            worse=bool(table["up"][stream]) or signal.worse is not signal.worse.BOTH,
        )

    def _node(self, key: IntArray) -> Node:
        codes = tuple(int(code) for code in key[:-1])
        node = self._names.get(codes)
        if node is None:
            node = self._names[codes] = Node.make(**self._words.text(codes))
        return node
