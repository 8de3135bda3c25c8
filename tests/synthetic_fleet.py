"""A small fleet of counts: an engine and a ledger that answer from them, and alert as a plain CUSUM would."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.alerts import Alert, Node
from detectors.changes.change import Change
from detectors.evidence import Evidence
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import BY_NAME, Form, Subject, Worse
from dimwatch.records import POINT, SIGHTING

FloatArray = NDArray[np.float64]

START_NS = 1_800_000_000 * 1_000_000_000 // MINUTE_NS * MINUTE_NS
THRESHOLD = 14.0

AGENTS = {
    # agent: (provider, model), tools
    "support": (("openai", "gpt-a"), ("search", "crm")),
    "sales": (("openai", "gpt-a"), ("crm",)),
    "coder": (("openai", "gpt-b"), ("shell",)),
    "travel": (("anthropic", "claude-x"), ("search", "flights")),
    "research": (("anthropic", "claude-x"), ("search",)),
    "billing": (("google", "gemini-x"), ("ledger",)),
}
RATES = {
    "model_error": 0.01, "model_truncated": 0.01, "model_retried": 0.01, "model_filtered": 0.005, "tool_error": 0.02,
    "tool_empty": 0.03, "tool_silent_failure": 0.01, "tool_invalid": 0.005, "run_failed": 0.03, "run_rescued": 0.02,
    "run_degraded": 0.05, "run_looped": 0.005, "run_invalid_call": 0.005,
}  # fmt: skip
LEVELS = (
    "model_latency", "model_first_token", "model_speed", "model_output_tokens", "model_reasoning_tokens",
    "tool_latency", "run_latency", "run_steps", "run_cost",
)  # fmt: skip
RUNS_A_MINUTE, CALLS_A_RUN = 3.0, 4.0
POOLS = {
    Subject.MODEL: (("agent", "provider", "model"), ("provider",), ("provider", "model"), ("agent",), ()),
    Subject.TOOL: (("agent", "tool"), ("tool",), ("agent",), ()),
    Subject.RUN: (("agent",), ()),
}


@dataclass(frozen=True)
class Fault:
    """From `start` to `end` (minutes), in all cells within `node`: rates and traffic times a factor, levels moved by so
    many standard deviations."""

    signal: str
    node: Node
    start: int
    end: int
    factor: float


class Watches:
    """CUSUMs over the pools of a signal."""

    def __init__(self, nodes: Sequence[Node], subject: Subject) -> None:
        pools: dict[Node, list[int]] = {}
        for names in POOLS[subject]:
            for place, node in enumerate(nodes):
                values = {name: node.value(name) for name in names}
                pools.setdefault(Node.make(tenant="t" if names else "", **values), []).append(place)
        self.nodes = list(pools)
        self.members = np.zeros((len(pools), len(nodes)))
        for row, places in enumerate(pools.values()):
            self.members[row, places] = 1.0
        self.score, self.since = np.zeros(len(pools)), np.zeros(len(pools), np.int64)
        self.sums = np.zeros((3, len(pools)))

    def step(self, form: Form, now: int, values: FloatArray) -> list[int]:
        """Take in a minute: observed, expected and n of the cells. Returns the pools that fire."""
        minute = values @ self.members.T
        observed, expected, _ = minute
        if form is Form.HITS:
            gain = observed * np.log(2.0) - 1.3 * expected
        elif form is Form.EVENTS:
            gain = observed * np.log(0.3) + 0.7 * expected
        else:
            gain = observed * 0.6 - 0.25 * expected
        idle = self.score <= 0
        self.since[idle] = START_NS + now * MINUTE_NS
        self.sums[:, idle] = 0.0
        self.sums += minute
        self.score = np.clip(self.score + gain, 0.0, 40.0)
        return [int(pool) for pool in np.flatnonzero(self.score > THRESHOLD)]


@dataclass
class SyntheticFleet:
    """Draws minutes, answers as the engine and as the ledger do."""

    faults: Sequence[Fault] = ()
    changes: Sequence[Change] = ()
    seed: int = 1
    now: int = 0
    rebaselined: list[tuple[Node, tuple[str, ...], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        model = [
            Node.make(tenant="t", agent=agent, provider=provider, model=name)
            for agent, ((provider, name), _) in sorted(AGENTS.items())
        ]
        tool = [
            Node.make(tenant="t", agent=agent, tool=tool)
            for agent, (_, tools) in sorted(AGENTS.items())
            for tool in tools
        ]
        run = [Node.make(tenant="t", agent=agent) for agent in sorted(AGENTS)]
        self.nodes = {Subject.MODEL: model, Subject.TOOL: tool, Subject.RUN: run}
        self.signals = (*RATES, *LEVELS, "run_traffic")
        self._history: dict[str, list[tuple[FloatArray, FloatArray, FloatArray]]] = {s: [] for s in self.signals}
        self._watches = {s: Watches(self.nodes[BY_NAME[s].subject], BY_NAME[s].subject) for s in self.signals}

    def step(self) -> tuple[Minute, list[Alert]]:
        """The next minute and what fires."""
        alerts: list[Alert] = []
        rows: list[dict[str, object]] = []
        for signal in self.signals:
            known = BY_NAME[signal]
            nodes = self.nodes[known.subject]
            observed, expected, n = self._draw(signal, nodes)
            self._history[signal].append((observed, expected, n))
            watches = self._watches[signal]
            firing = watches.step(known.form, self.now, np.stack([observed, expected, n]))
            alerts.extend(self._alert(signal, watches, pool) for pool in firing)
            if signal in ("run_traffic", "model_error", "tool_error"):
                counts = observed if known.form is Form.EVENTS else n
                rows.extend(self._row(signal, node, counts[i], observed[i]) for i, node in enumerate(nodes))
        minute = Minute(
            START_NS + self.now * MINUTE_NS,
            pa.Table.from_pylist(rows, schema=POINT),
            SIGHTING.empty_table(),
        )
        self.now += 1
        return minute, sorted(alerts, key=lambda alert: (alert.signal, alert.node))

    def evidence(self, signal: str, since_ns: int) -> Evidence:
        known = BY_NAME[signal]
        nodes = self.nodes[known.subject]
        first = max((since_ns - START_NS) // MINUTE_NS, self.now - 120, 0)
        parts = self._history.get(signal, [])[first:]
        zero = np.zeros(len(nodes))
        observed, expected, n = (sum((part[i] for part in parts), zero) for i in range(3))
        return Evidence(list(nodes), observed, expected, n, known.form)

    def recent(
        self, signal: str, nodes: Collection[Node], since_ns: int, step: int, steps: int
    ) -> tuple[FloatArray, FloatArray]:
        first, means = (since_ns - START_NS) // MINUTE_NS, np.full((2, steps), np.nan)
        own = [node in nodes for node in self.nodes[BY_NAME[signal].subject]]
        for place in range(steps):
            begin = max(first + place * step, 0)
            parts = self._history.get(signal, [])[begin : max(begin, first + (place + 1) * step)]
            observed, expected, n = (sum(part[i][own].sum() for part in parts) for i in range(3))
            if n > 0:
                means[:, place] = observed / n, expected / n
        return means[0], means[1]

    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None:
        self.rebaselined.append((node, tuple(signals), since_ns))

    def settle(self, agents: Collection[tuple[str, str]], signals: Collection[str]) -> None:
        """Alerts here are drawn anew in every minute."""

    @property
    def latest(self) -> list[Change]:
        now_ns = START_NS + self.now * MINUTE_NS
        return [change for change in self.changes if now_ns - MINUTE_NS < change.version <= now_ns]

    def since(self, start_ns: int, end_ns: int) -> list[Change]:
        now_ns = START_NS + self.now * MINUTE_NS
        return [c for c in self.changes if start_ns <= c.time_ns <= min(end_ns, now_ns) and c.version <= now_ns]

    def _factors(self, signal: str, nodes: Sequence[Node], neutral: float) -> FloatArray:
        factors = np.full(len(nodes), neutral)
        for fault in self.faults:
            if fault.signal == signal and fault.start <= self.now < fault.end:
                factors[[node.within(fault.node) for node in nodes]] = fault.factor
        return factors

    def _draw(self, signal: str, nodes: Sequence[Node]) -> tuple[FloatArray, FloatArray, FloatArray]:
        known = BY_NAME[signal]
        silent = np.array(
            [
                any(
                    fault.signal == "run_traffic" and fault.start <= self.now < fault.end and node.within(fault.node)
                    for fault in self.faults
                )
                for node in nodes
            ]
        )
        rate = RUNS_A_MINUTE * (1.0 if known.subject is Subject.RUN else CALLS_A_RUN)
        n = np.where(silent, 0, self._rng.poisson(rate, len(nodes))).astype(float)
        if known.form is Form.EVENTS:
            return n, np.full(len(nodes), rate), np.ones(len(nodes))
        if known.form is Form.HITS:
            rates = np.minimum(RATES[signal] * self._factors(signal, nodes, 1.0), 1.0)
            return self._rng.binomial(n.astype(int), rates).astype(float), n * RATES[signal], n
        shift = self._factors(signal, nodes, 0.0)
        return n * shift + self._rng.normal(0, 1, len(nodes)) * np.sqrt(n), n.copy(), n

    def _alert(self, signal: str, watches: Watches, pool: int) -> Alert:
        known = BY_NAME[signal]
        observed, expected, n = watches.sums[:, pool].tolist()
        if known.form is Form.LEVEL:
            off = float(np.exp(0.5 * observed / max(n, 1.0)))
            shown = (50.0 / off if known.worse is Worse.DOWN else 50.0 * off), 50.0
        else:
            shown = observed / max(n, 1.0), expected / max(n, 1.0)
        score, since_ns = float(watches.score[pool]), int(watches.since[pool])
        return Alert(watches.nodes[pool], signal, score, THRESHOLD, since_ns, *shown, n)

    @staticmethod
    def _row(signal: str, node: Node, n: float, total: float) -> dict[str, object]:
        values = {
            name: node.value(name) for name in ("tenant", "agent", "provider", "model", "tool", "release", "region")
        }
        return {
            **values,
            "time": 0,
            "subject": BY_NAME[signal].subject.value,
            "signal": signal,
            "n": float(n),
            "total": float(total),
            "squares": 0.0,
            "bucket": [],
            "bucket_count": [],
        }
