"""The engine: closed minutes in, alerts out, under one promise about false pages.

The promise. Every watched stream (a node, a signal, a direction) carries an e-detector, and pages when its evidence
reaches H = ln(minutes a week / (its share of the budget x false pages a week)). As long as what is normal stays within
its bound (baseline plus margin, tolerance and doubt, divided by over-dispersion), each stream reaches H within a week
with a probability of at most minutes / e^H, so that all of them together cost at most `false_pages_per_week` expected
false pages a week (detectors.series.edetector has the argument, detectors.series.budget the shares; dependence between
streams does not matter to a sum of expectations). Streams count from when their baseline is armed; a minute without
trials neither helps nor costs.
What is measured about it: `python -m benchmarks.statistics`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import structlog

from detectors.alerts import DIMENSIONS, Alert, Node
from detectors.evidence import Evidence
from detectors.series.arrays import FloatArray, IntArray
from detectors.series.bank import Bank
from detectors.series.budget import Budget
from detectors.series.clockwork import BLOCK, DAY, WEEK
from detectors.series.hits import Hits
from detectors.series.keys import Vocabulary
from detectors.series.level import Level
from detectors.series.pack import pack, unpack
from detectors.series.residuals import busiest, residuals
from detectors.series.silence import Silence
from detectors.series.spending import Spending
from detectors.series.tail import Tail
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import DERIVED, SIGNALS, Form, Signal
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection

_log = structlog.get_logger()

_BANKS: Final[tuple[type[Bank], ...]] = (Hits, Level, Silence, Spending)
_MOST: Final = 1e12
"""No minute of a series has a count or sum beyond this."""
_IDLE: Final = WEEK
"""Minutes without anything after which a series makes room for new ones, if there are too many."""
_ROOM_EVERY: Final = 60
"""Minutes."""
_ORDER: Final = {form: number for number, form in enumerate(Form)}


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the rows of a table of points go."""

    columns: list[pa.ChunkedArray]
    rows: dict[Form, IntArray]
    cells: dict[Form, IntArray]
    slow_rows: IntArray
    slow_cells: IntArray
    slow_leaf: IntArray
    refused: int


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
        self._form = np.array([_ORDER[of.form] for of in self._signals] + [-1])
        self._to_derived = np.array([self._derived.get(number, -1) for number in range(len(self._signals) + 1)])
        self._banks = {
            kind.form: kind(settings, {number: of for number, of in enumerate(self._signals) if of.form is kind.form})
            for kind in _BANKS
        }
        self._tail = Tail()
        self._words = Vocabulary()
        self._names: dict[tuple[int, ...], Node] = {}
        self._minute = -1
        self._idle = 0
        """Empty minutes since the last that was not."""
        self._full = False
        """Series had to be refused since room was last made."""
        self._cleared = -1
        """The minute in which room was last made."""
        self._last: _Route | None = None
        self._budget = Budget(self._signals, settings.false_pages_per_week)
        self.refused = 0
        """Rows of points that were not looked at, for want of room (`max_series`), signal or number."""

    @property
    def streams(self) -> int:
        """Streams that are watched and may page; the most that there were."""
        return self._budget.streams

    @property
    def threshold(self) -> float:
        """H of a stream with an even share of the budget, in nats."""
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
        """Every alert that fires as of this minute, sorted by (signal, node). Minutes come in order, empty ones
        too, for silence is made of them; only after a day of silence the windower leaves some out.

        Raises InvalidError for a minute that is not the next one.
        """
        now = minute.start_ns // MINUTE_NS
        latest = self._minute + 1 if self._idle < DAY else now
        if self._minute >= 0 and not self._minute < now <= latest:
            raise InvalidError(f"minute {now} after {self._minute}: close every minute once, in order, also empty ones")
        self._idle = 0 if minute.points.num_rows else self._idle + 1
        self._minute = now
        route = self._route(minute.points, now)
        self.refused += route.refused
        values = self._values(minute.points)
        slow = self._slow(minute.points, route)
        self._budget.share_out(list(self._banks.values()))
        for form, bank in self._banks.items():
            cells, own = route.cells[form], values[:, route.rows[form]]
            if form is Form.HITS:
                cells, own = np.concatenate([cells, route.slow_cells]), np.concatenate([own, slow], axis=1)
            bank.step(now, cells, *own)
        if now % BLOCK == 0:
            self._tail.renew(self._levels)
        self._budget.share_out(list(self._banks.values()))
        return self._alerts(now)

    def resume(self) -> None:
        """The next minute may be any later one: nobody tells of those in between."""
        self._idle = DAY

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

    def recent(
        self, signal: str, nodes: Collection[Node], since_ns: int, step: int, steps: int
    ) -> tuple[FloatArray, FloatArray]:
        """What was observed and what was expected in these cells together, in each of so many steps of `step` minutes
        since then: the rate of hits, the geometric mean, the events or the amount a minute; NaN where nothing was
        measured. Steps of a minute reach 20 minutes back, those of ten, begun at a full one, as far as the guard.

        Raises KeyError for an unknown signal.
        """
        number = self._number[signal]
        form = self._signals[number].form
        bank = self._banks[form]
        own = np.flatnonzero(bank.pools.cell_signal == number)
        chosen = [cell in nodes for cell in map(self._node, bank.pools.cells.rows[own])]
        sums, minutes = bank.log.recent(own[np.array(chosen, dtype=bool)], since_ns // MINUTE_NS, step, steps)
        n = minutes if form in (Form.EVENTS, Form.AMOUNT) else sums[:, 0]
        means = sums[:, 1:] / np.where(n > 0, n, np.nan)[:, None]
        if form is Form.LEVEL:
            means = np.exp(np.clip(means, -700.0, 700.0))
        return means[:, 0], means[:, 1]

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

    def settle(self, agents: Collection[tuple[str, str]], signals: Collection[str]) -> None:
        """An incident of these agents, given as (tenant, agent), is over: what these signals gathered under it without
        an alert is not held against what comes after. Less evidence than there is keeps the promise all the more."""
        numbers = [self._number[signal] for signal in signals]
        found = [self._words.find({"tenant": tenant, "agent": agent}) for tenant, agent in sorted(agents)]
        known = np.array([[0, 0], *(codes[:2] for codes in found if codes is not None)])
        for bank in self._banks.values():
            rows = bank.pools.nodes.rows
            own = (rows[:, None, :2] == known).all(axis=2).any(axis=1) & np.isin(rows[:, -1], numbers)
            bank.settle(own, self._minute)

    def busiest(self, signal: str, most: int) -> list[Node]:
        """The watched nodes of a signal of form HITS with the most traffic, no releases or regions."""
        bank = self._banks[Form.HITS]
        assert isinstance(bank, Hits)
        return [self._node(key) for key in busiest(bank, self._number[signal], most)]

    def residuals(self, nodes: Sequence[Node], signals: Sequence[str]) -> FloatArray:
        """By how much the last minute was more than expected, in standard deviations, shape (nodes, signals): of forms
        HITS and LEVEL. NaN where nothing was measured or is known."""
        off = np.full((len(nodes), len(signals)), np.nan)
        found = ((place, self._words.find(dict(node.of))) for place, node in enumerate(nodes))
        known = {place: codes for place, codes in found if codes is not None}
        keys = np.array([[*codes, 0] for codes in known.values()], dtype=np.int64)
        for column, signal in enumerate(signals if known else ()):
            keys[:, -1] = number = self._number[signal]
            off[list(known), column] = residuals(self._banks[self._signals[number].form], keys)
        return off

    def snapshot(self) -> bytes:
        """All state, exactly."""
        return pack(
            {
                "words": {str(position): words for position, words in enumerate(self._words.values)},
                "signals": [signal.name for signal in self._signals],
                "minute": self._minute,
                "idle": self._idle,
                "full": self._full,
                "cleared": self._cleared,
                "streams": self.streams,
                "weights": self._budget.weights,
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
        self._last = None
        self._minute, self._idle = parts["minute"], parts["idle"]
        self._budget.load(parts["streams"], parts["weights"])
        self.refused = parts["refused"]
        self._full, self._cleared = parts["full"], parts["cleared"]
        self._tail.marks.load(parts["tail"])
        for form, bank in self._banks.items():
            bank.load(parts["banks"][form.value])

    @property
    def _levels(self) -> Level:
        bank = self._banks[Form.LEVEL]
        assert isinstance(bank, Level)
        return bank

    def _values(self, points: pa.Table) -> FloatArray:
        """n, total, squares of all rows, shape (3, rows); what is not a number counts as nothing."""
        columns = [points.column(name).to_numpy() for name in ("n", "total", "squares")]
        values = np.array(columns, dtype=np.float64)
        # Not a number compares as false. The limits are far beyond any minute, and far below overflow.
        good = (np.abs(values) < _MOST).all(axis=0) & (values[0] > 0) & (values[2] >= 0)
        self.refused += int(len(good) - good.sum())
        return values if good.all() else np.where(good, values, 0.0)

    def _route(self, points: pa.Table, now: int) -> _Route:
        """Where the rows of a table go; busy fleets send the same rows minute after minute."""
        if self._full and now - self._cleared >= _ROOM_EVERY:
            self._make_room(now)
        columns = [points.column(name) for name in (*DIMENSIONS, "signal")]
        last = self._last
        if last is not None and all(new.equals(old) for new, old in zip(columns, last.columns, strict=True)):
            return last
        keys = np.empty((points.num_rows, len(DIMENSIONS) + 1), dtype=np.int64)
        keys[:, :-1] = self._words.codes(points)
        names = points.column("signal").combine_chunks().dictionary_encode()
        numbers = np.array([self._number.get(name, -1) for name in names.dictionary.to_pylist()], dtype=np.int64)
        keys[:, -1] = numbers[names.indices.to_numpy(zero_copy_only=False)]
        rows, cells = {}, {}
        for form in Form:
            own = np.flatnonzero(self._form[keys[:, -1]] == _ORDER[form])
            rows[form], cells[form] = self._places(form, own, keys, now)
        refused = points.num_rows - sum(len(own) for own in rows.values())
        slow = np.flatnonzero(self._to_derived[keys[:, -1]] >= 0)
        slow, measured = self._places(Form.LEVEL, slow, keys, now)
        keys[:, -1] = self._to_derived[keys[:, -1]]
        kept, slow_cells = self._places(Form.HITS, slow, keys, now)
        leaf = self._levels.pools.cell_leaf[measured[np.isin(slow, kept)]]
        self._last = _Route(columns, rows, cells, kept, slow_cells, leaf, refused)
        return self._last

    def _make_room(self, now: int) -> None:
        """Drop the series that have been idle for long."""
        self._cleared, before = now, self.series
        self._tail.grow(self._levels)
        for bank in self._banks.values():
            leaves = bank.forget(now - _IDLE)
            if leaves is not None and isinstance(bank, Level):
                self._tail.marks.take(leaves)
        if self.series < before:
            self._full, self._last = False, None

    def _places(self, form: Form, rows: IntArray, keys: IntArray, now: int) -> tuple[IntArray, IntArray]:
        """The cells of these rows in the bank of a form, new ones learned, and the rows that have one."""
        bank = self._banks[form]
        own = bank.pools.trim(keys[rows])
        cells = bank.pools.known(own)
        if (cells < 0).any():
            fresh = np.unique(own[cells < 0], axis=0)
            room = max(0, self._settings.max_series - self.series)
            if len(fresh) > room and not self._full:
                self._full = True
                _log.warning("no room for new series until others are idle: raise max_series", series=self.series)
            bank.learn(fresh[:room], now)
            cells = bank.pools.known(own)
        return rows[cells >= 0], cells[cells >= 0]

    def _slow(self, points: pa.Table, route: _Route) -> FloatArray:
        """n, total, squares of the derived signals."""
        self._tail.grow(self._levels)
        lists = points.select(["bucket", "bucket_count"]).take(pa.array(route.slow_rows))
        bucket, count = (column.combine_chunks() for column in lists.columns)
        n, hits = self._tail.hits(route.slow_leaf, bucket, count)
        return np.stack([n, hits, np.zeros(len(n))])

    def _alerts(self, now: int) -> list[Alert]:
        alerts = []
        for bank in self._banks.values():
            streams = bank.alerts(now)
            if len(streams):
                evidence = bank.evidence()
                alerts += [self._alert(bank, stream, float(evidence[stream])) for stream in streams.tolist()]
        return sorted(alerts, key=lambda alert: (alert.signal, alert.node, alert.worse))

    def _alert(self, bank: Bank, stream: int, evidence: float) -> Alert:
        table = bank.stream
        key = bank.pools.nodes.rows[int(table["node"][stream])]
        signal = self._signals[int(key[-1])]
        n, observed, expected = (float(table[name][stream]) for name in ("n", "observed", "expected"))
        share = max(n, 1e-9)
        ratio, usual = observed / share, expected / share
        if signal.form is Form.LEVEL:
            ratio, usual = (float(np.exp(np.clip(value, -700.0, 700.0))) for value in (ratio, usual))
        return Alert(
            node=self._node(key),
            signal=signal.name,
            evidence=evidence,
            threshold=float(bank.threshold[stream]),
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
