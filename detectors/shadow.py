"""Detectors in shadow: plug-ins watch some nodes beside the engine, and what they would have paged is written down.

A plug-in answers with p-values, the budget is in false pages a week. The bridge is the e-detector of the engine
(`detectors.series.edetector`) over calibrated p-values: e(p) = (1 - p + p ln p) / (p ln^2 p), whose mean is at most 1
while p is a p-value (Vovk & Wang, E-values: Calibration, combination and applications, Annals of Statistics 49, 2021).
R <- (1 + R) e reaches H = ln(streams x minutes a week / false pages a week) at most so often as is promised, as far as
the p-values hold. Those of a conformal history do while minutes are exchangeable, which they are not where odd minutes
come together, as in the busiest hours. So a page also needs more evidence than any stream of the detector had in as
much time as the budget allows one page in, a week by default: of n stretches of time the newest is the worst with the
chance 1 / n, so that there is one such page in that time, whatever the evidence is worth, as far as one week is like
another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final

import numpy as np
import structlog
import xxhash
from scipy import special

from detectors.alerts import DIMENSIONS, Alert, Node
from detectors.engine import Engine
from detectors.plugins.plugin import Plugin
from detectors.series.arrays import FloatArray, IntArray
from detectors.series.clockwork import DAY, WEEK
from detectors.series.pack import pack, unpack
from detectors.windows.minute import MINUTE_NS, Minute
from dimwatch.clock import NS_PER_SECOND, rfc3339
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "model_error": ("model_error", "model_latency", "model_first_token", "model_speed", "model_output_tokens"),
    "tool_error": ("tool_error", "tool_silent_failure", "tool_empty", "tool_latency", "tool_result_size"),
    "run_failed": ("run_failed", "run_degraded", "run_latency", "run_steps", "run_tokens"),
}
"""By the signal that every call or run is a trial of: the signals of a node that are looked at, as residuals."""
WIDTH: Final = 5
_CHOOSE: Final = 60
"""Minutes between two looks for nodes to watch."""
_HOUR: Final = 60
_LONGEST: Final = 10 * WEEK // _HOUR
"""Hours that are remembered at most."""
_DOUBT: Final = 0.001
_PATIENCE: Final = 6.0
"""Nats that the CUSUM is kept at, so that an alert is over after about twenty minutes without anything odd."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShadowAlert:
    """What a detector would have paged, as of its `version`."""

    plugin: str
    node: Node
    signal: str
    """The residuals that it is about, with commas between: one, or all that a detector takes together."""
    since_ns: int
    """Estimated onset."""
    opened_ns: int
    ended_ns: int | None
    p_value: float
    """The lowest since then."""
    evidence: float
    """Nats, the most so far."""
    threshold: float
    """That it opened at."""
    final: bool = False
    """Nothing will become of it any more: it has ended, or the input has."""

    @property
    def id(self) -> str:
        """The same on every replay."""
        parts = (self.plugin, *(f"{name}={value}" for name, value in self.node.of), self.signal, str(self.opened_ns))
        return xxhash.xxh3_64_hexdigest("\x1f".join(parts).encode())

    def row(self) -> dict[str, object]:
        """A row of `dimwatch.records.SHADOW_ALERT`."""
        return {
            "id": self.id,
            "plugin": self.plugin,
            **{name: self.node.value(name) for name in DIMENSIONS},
            "signal": self.signal,
            "since": _time(self.since_ns),
            "opened_at": _time(self.opened_ns),
            "until": None if self.ended_ns is None else _time(self.ended_ns),
            "p_value": self.p_value,
            "evidence": self.evidence,
            "threshold": self.threshold,
            "version": self.ended_ns or self.opened_ns,
        }

    def line(self) -> dict[str, Any]:
        """What `dimwatch replay` prints of it."""
        return {
            "type": "shadow",
            "id": self.id,
            "plugin": self.plugin,
            "scope": dict(self.node.of),
            "signal": self.signal,
            "since": rfc3339(self.since_ns),
            "opened_at": rfc3339(self.opened_ns),
            "until": None if self.ended_ns is None else rfc3339(self.ended_ns),
            "p_value": float(f"{self.p_value:.3g}"),
            "evidence": round(self.evidence, 1),
            "threshold": round(self.threshold, 1),
        }


def e_value(p_values: FloatArray) -> FloatArray:
    """Of each p-value in (0, 1], in [0.5, infinity): 1 at p = 0.17, 21 at 0.001."""
    p = np.clip(p_values, 1e-300, 0.999)
    log = np.log(p)
    return np.asarray((1 - p + p * log) / (p * log**2))


def with_doubt(p_values: FloatArray, ranked_among: IntArray) -> FloatArray:
    """Ranks among few windows, made p-values that go on to hold minute after minute: those windows may be calmer than
    is usual, and stay what all later ones are compared with. So each is taken for the largest share that such a rank
    has by chance in one case of a thousand (Clopper & Pearson, Biometrika 26, 1934)."""
    among = np.maximum(ranked_among, 1)
    higher = np.clip(np.round(p_values * (among + 1)) - 1, 0, among - 1)
    largest = special.betaincinv(higher + 1, among - higher, 1 - _DOUBT)
    ranks = (ranked_among > 0) & (p_values < 1)
    return np.where(ranks, np.maximum(largest, p_values), p_values)


@dataclass(slots=True)
class _Watch:
    """One detector at one node. Streams are the signals, or one of all of them together."""

    model: Plugin
    evidence: FloatArray
    """ln R, by stream."""
    cusum: FloatArray
    start_ns: FloatArray
    """Where the CUSUM was last zero."""
    opened_ns: FloatArray
    """0 where it would not page."""
    needed: FloatArray
    """The threshold that it opened at."""
    lowest: FloatArray
    most: FloatArray

    @classmethod
    def new(cls, model: Plugin, streams: int, now_ns: int) -> _Watch:
        """Nothing is known."""
        begin = {"evidence": -np.inf, "start_ns": now_ns, "lowest": 1.0}
        return cls(model, **{name: np.full(streams, float(begin.get(name, 0.0))) for name in _ARRAYS})

    def step(self, off: FloatArray, now_ns: int) -> None:
        """Take in the residuals of a minute that has just ended."""
        window = off[:, None] if len(self.evidence) > 1 else off[None, :]
        some = np.isfinite(window).any(axis=1)
        p_values = with_doubt(self.model.learn_score(window), self.model.ranked_among)
        gain = np.where(some, np.log(e_value(p_values)), 0.0)
        grown = np.where(some, np.logaddexp(0.0, self.evidence), self.evidence) + gain
        self.evidence = grown
        self.cusum = np.clip(self.cusum + gain, 0.0, _PATIENCE)
        fresh = (self.cusum <= 0) & (self.opened_ns == 0)
        self.start_ns = np.where(fresh, now_ns, self.start_ns)
        self.lowest = np.where(fresh, 1.0, np.where(some, np.minimum(self.lowest, p_values), self.lowest))
        self.most = np.where(fresh, 0.0, np.maximum(self.most, grown))

    def end(self, stream: int, now_ns: int) -> None:
        """An alert is over: begin anew."""
        self.evidence[stream], self.cusum[stream], self.opened_ns[stream] = -np.inf, 0.0, 0.0
        self.start_ns[stream], self.lowest[stream], self.most[stream] = now_ns, 1.0, 0.0

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {**arrays, "model": np.frombuffer(self.model.snapshot(), dtype=np.uint8)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot. Raises InvalidError if it is of another model."""
        self.model.restore(state["model"].tobytes())
        known = {"needed": np.zeros_like(self.needed), **state}  # the first version did not keep it
        for name in _ARRAYS:
            setattr(self, name, known[name])


_ARRAYS: Final = ("evidence", "cusum", "start_ns", "opened_ns", "needed", "lowest", "most")


@dataclass(slots=True)
class _Place:
    """A node that is watched."""

    lead: str
    node: Node
    number: int
    """How many places there were before."""
    active_ns: int
    """When something was measured last."""
    watches: dict[str, _Watch] = field(default_factory=dict)
    """By name of the plug-in."""


class Shadow:
    """All detectors in shadow. They see a bounded number of nodes: of model calls, tool calls and runs the busiest ones
    that the engine watches, each for as long as there is something to measure within a day."""

    def __init__(self, settings: Detection) -> None:
        self._budget = settings.false_pages_per_week
        self._most = settings.shadow_nodes
        self._makers = _makers(settings)
        self._places: list[_Place] = []
        self._made = 0
        self._streams = dict.fromkeys(self._makers, 0)
        hours = min(round(WEEK / _HOUR / self._budget), _LONGEST)
        self._highest = {name: np.zeros(hours) for name in self._makers}
        """By detector: the most evidence of each hour, as long as the budget allows one page."""
        self._hour = 0
        self._alerted = -2
        """The latest hour in which the pager alerted."""

    def step(self, minute: Minute, engine: Engine, alerts: Sequence[Alert]) -> list[ShadowAlert]:
        """Take in a minute after the engine, and what that alerts of. Returns the alerts that would have opened or
        ended, in order."""
        if not self._makers:
            return []
        changed = []
        now_ns = minute.end_ns
        if minute.start_ns // MINUTE_NS % _CHOOSE == 0:
            changed += self._choose(engine, now_ns)
        for lead, signals in COLUMNS.items():
            places = [place for place in self._places if place.lead == lead]
            off = engine.residuals([place.node for place in places], signals)
            for place, window in zip(places, off, strict=True):
                if np.isfinite(window).any():
                    place.active_ns = now_ns
                for name, watch in place.watches.items():
                    watch.step(window, now_ns)
                    changed += self._news(place, name, watch, now_ns)
        self._remember(minute.start_ns // MINUTE_NS // _HOUR, calm=not alerts)
        return sorted(changed, key=lambda alert: (alert.plugin, alert.node, alert.signal, alert.opened_ns))

    def finish(self) -> list[ShadowAlert]:
        """The input has ended: the alerts that have not."""
        return [
            replace(self._alert(place, name, stream, None), final=True)
            for name in self._makers
            for place in self._places
            for stream in np.flatnonzero(place.watches[name].opened_ns).tolist()
        ]

    def snapshot(self) -> bytes:
        """All state, exactly."""
        places = {
            str(number): {
                "of": [place.lead, place.node.of, place.number, place.active_ns],
                "watches": {name: watch.state() for name, watch in place.watches.items()},
            }
            for number, place in enumerate(self._places)
        }
        return pack(
            {
                "places": places,
                "made": self._made,
                "streams": self._streams,
                "hour": self._hour,
                "alerted": self._alerted,
                "highest": self._highest,
            }
        )

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot; a detector that was not in it, or with other arguments, begins anew."""
        saved = unpack(state)
        self._made, self._places = saved["made"], []
        self._streams = {name: saved["streams"].get(name, 0) for name in self._makers}
        self._hour, self._alerted = saved.get("hour", 0), saved.get("alerted", -2)
        for name, hours in saved.get("highest", {}).items():
            if name in self._highest and len(hours) == len(self._highest[name]):
                self._highest[name] = hours
        for of in saved["places"].values():
            lead, node, number, active_ns = of["of"]
            place = self._place(lead, Node(tuple((name, value) for name, value in node)), number, active_ns)
            for name, watch in place.watches.items():
                try:
                    watch.load(of["watches"][name])
                except (KeyError, InvalidError) as error:
                    _log.warning("a detector in shadow begins anew", plugin=name, error=str(error))
                    place.watches[name] = self._watch(name, number, active_ns)
            self._places.append(place)

    def _threshold(self, name: str) -> float:
        by_promise = math.log(max(self._streams[name], 1) * WEEK / self._budget)
        return max(by_promise, float(self._highest[name].max(initial=0.0)))

    def _remember(self, hour: int, calm: bool) -> None:
        """The evidence of a minute in this hour. What the pager alerts of is no measure of calm, nor is the hour before
        or after that."""
        self._alerted = self._alerted if calm else hour
        passed = min(hour - self._hour, _LONGEST)
        self._hour = hour
        for name, highest in self._highest.items():
            if not len(highest):
                continue
            highest[(hour - np.arange(passed)) % len(highest)] = 0.0
            if hour - self._alerted <= 1:
                highest[[hour % len(highest), (hour - 1) % len(highest)]] = 0.0
                continue
            now = [place.watches[name].evidence.max() for place in self._places]
            highest[hour % len(highest)] = max([highest[hour % len(highest)], *now])

    def _choose(self, engine: Engine, now_ns: int) -> list[ShadowAlert]:
        """Give up the nodes that went silent, and take in the busiest of the others. Returns the alerts that end."""
        gone = [place for place in self._places if now_ns - place.active_ns > DAY * MINUTE_NS]
        self._places = [place for place in self._places if now_ns - place.active_ns <= DAY * MINUTE_NS]
        ended = [
            self._alert(place, name, stream, now_ns)
            for place in gone
            for name, watch in place.watches.items()
            for stream in np.flatnonzero(watch.opened_ns).tolist()
        ]
        for lead in COLUMNS:
            known = {place.node for place in self._places if place.lead == lead}
            others = [node for node in engine.busiest(lead, self._most + len(known)) if node not in known]
            for node in others[: max(0, self._most - len(known))]:
                self._places.append(self._place(lead, node, self._made, now_ns))
                self._made += 1
        for name in self._makers:
            streams = sum(len(place.watches[name].evidence) for place in self._places)
            self._streams[name] = max(self._streams[name], streams)
        return ended

    def _place(self, lead: str, node: Node, number: int, now_ns: int) -> _Place:
        watches = {name: self._watch(name, number, now_ns) for name in self._makers}
        return _Place(lead, node, number, now_ns, watches)

    def _watch(self, name: str, number: int, now_ns: int) -> _Watch:
        model = self._makers[name](number)
        return _Watch.new(model, WIDTH // model.columns, now_ns)

    def _news(self, place: _Place, name: str, watch: _Watch, now_ns: int) -> list[ShadowAlert]:
        alerts = []
        for stream in np.flatnonzero((watch.opened_ns > 0) & (watch.cusum <= 0)).tolist():
            alerts.append(self._alert(place, name, stream, now_ns))
            watch.end(stream, now_ns)
        threshold = self._threshold(name)
        for stream in np.flatnonzero((watch.opened_ns == 0) & (watch.evidence > threshold)).tolist():
            watch.opened_ns[stream], watch.needed[stream] = now_ns, threshold
            alerts.append(self._alert(place, name, stream, None))
        return alerts

    def _alert(self, place: _Place, name: str, stream: int, ended_ns: int | None) -> ShadowAlert:
        watch, signals = place.watches[name], COLUMNS[place.lead]
        return ShadowAlert(
            plugin=name,
            node=place.node,
            signal=signals[stream] if len(watch.evidence) > 1 else ",".join(signals),
            since_ns=int(watch.start_ns[stream]),
            opened_ns=int(watch.opened_ns[stream]),
            ended_ns=ended_ns,
            p_value=float(watch.lowest[stream]),
            evidence=float(watch.most[stream]),
            threshold=float(watch.needed[stream]),
            final=ended_ns is not None,
        )


def _makers(settings: Detection) -> dict[str, Callable[[int], Plugin]]:
    """By name, in order: what makes a plug-in for the place of that number."""
    if not settings.shadow:
        return {}
    # Only who wants them pays for the libraries behind them.
    plugins = import_module("detectors.plugins.table").PLUGINS
    # One drift must be able to reach H: ADWIN says it once, with a p-value of delta.
    threshold = math.log(len(COLUMNS) * settings.shadow_nodes * WIDTH * WEEK / settings.false_pages_per_week)
    makers: dict[str, Callable[[int], Plugin]] = {
        "adwin": lambda _: plugins["adwin"](WIDTH, delta=math.exp(-threshold) / (4 * threshold**2)),
        "half_space_trees": lambda _: plugins["half_space_trees"](1, WIDTH),
        # Forests that are grown one after the other, and not all in one minute.
        "isolation_forest": lambda number: plugins["isolation_forest"](1, WIDTH, refit=240 + number % 60),
        "page_hinkley": lambda _: plugins["page_hinkley"](WIDTH),
    }
    return {name: makers[name] for name in sorted(set(settings.shadow))}


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS_PER_SECOND, UTC)
