"""The fleet as closed minutes, without the detour through OTLP and traces: for tuning, many weeks in a minute.

It counts what `detectors.windows.facts` counts of the same runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.fleet.draw import DAY_S, EMPTY, ERROR, FAILED, INVALID, LENGTH, SWALLOWED, Day, ModelCalls, draw
from benchmarks.fleet.faults import Mask, Times, Timetable
from benchmarks.fleet.otlp import EPOCH_NS
from benchmarks.fleet.world import AGENTS, MODELS, TOOLS
from detectors.windows import histogram
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import BY_NAME, DERIVED, Form
from dimwatch.records import POINT, SIGHTING
from ingest.prices import Prices

_JUDGED_S: Final = 8.0
_LATENESS_S: Final = 60.0
_KEYS: Final = ("tenant", "subject", "agent", "provider", "model", "tool", "release", "region", "signal")

Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Key = tuple[str, ...]


def minutes(seed: int, end_s: float, table: Timetable) -> Iterator[Minute]:
    """All minutes in order, empty ones too."""
    gathered, seen = _Gathered(_KEYS), _Gathered(("tenant", "agent", "attribute", "key", "value"))
    for number in range(len(AGENTS)):
        days = [draw(seed, number, day, end_s, table) for day in range(int(np.ceil(end_s / DAY_S)))]
        _count(_whole(days), gathered, seen)
    points, point_minutes = gathered.table(POINT)
    sightings, sighting_minutes = seen.table(SIGHTING)
    count = int(end_s // 60)
    edges = np.searchsorted(point_minutes, np.arange(count + 1))
    seen_edges = np.searchsorted(sighting_minutes, np.arange(count + 1))
    for minute in range(count):
        yield Minute(
            EPOCH_NS + minute * MINUTE_NS,
            points.slice(edges[minute], edges[minute + 1] - edges[minute]),
            sightings.slice(seen_edges[minute], seen_edges[minute + 1] - seen_edges[minute]),
        )


@dataclass(slots=True)
class _Gathered:
    """Rows of a few keys and many minutes."""

    names: tuple[str, ...]
    keys: dict[Key, int] = field(default_factory=dict)
    parts: list[tuple[Rows, Rows, Values, Values, Values]] = field(default_factory=list)
    lists: list[tuple[pa.ListArray, pa.ListArray]] = field(default_factory=list)

    def add(
        self,
        keys: Sequence[Key],
        minute: Rows,
        n: Values,
        total: Values,
        squares: Values,
        lists: tuple[pa.ListArray, pa.ListArray] | None = None,
    ) -> None:
        codes = np.array([self.keys.setdefault(key, len(self.keys)) for key in keys], dtype=np.int64)
        nothing = np.empty(0, dtype=np.int64)
        lists = lists or histogram.gathered(nothing, nothing.astype(np.int16), nothing, len(n))
        kept = np.flatnonzero(n > 0)
        self.parts.append((minute[kept], codes[kept], n[kept], total[kept], squares[kept]))
        self.lists.append((lists[0].take(pa.array(kept)), lists[1].take(pa.array(kept))))

    def table(self, schema: pa.Schema) -> tuple[pa.Table, Rows]:
        """All rows in order of minute and key, and their minutes."""
        minute, code, n, total, squares = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        ordered = sorted(self.keys)
        rank = np.empty(len(ordered), dtype=np.int64)
        rank[[self.keys[key] for key in ordered]] = np.arange(len(ordered))
        order = np.lexsort((rank[code], minute))
        at = pa.array(rank[code][order])
        columns: dict[str, Any] = {
            name: pa.array([key[place] for key in ordered], pa.string()).take(at)
            for place, name in enumerate(self.names)
        }
        columns |= {"time": pa.array(EPOCH_NS + minute[order] * MINUTE_NS).cast(schema.field("time").type)}
        columns |= {"n": n[order], "total": total[order], "squares": squares[order]}
        for name, lists in zip(("bucket", "bucket_count"), zip(*self.lists, strict=True), strict=True):
            columns[name] = pa.concat_arrays(lists).take(pa.array(order))
        return pa.table([columns[name] for name in schema.names], schema=schema), minute[order]


def _whole(days: Sequence[Day]) -> Day:
    """All days of an agent as one."""
    offset = np.cumsum([0, *(len(day.runs.start) for day in days)])
    for day, first in zip(days, offset.tolist(), strict=False):
        day.models.run += first
        day.tools.run += first
    runs, models, tools = (
        type(parts[0])(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(parts[0])))
        for parts in ([d.runs for d in days], [d.models for d in days], [d.tools for d in days])
    )
    return Day(days[0].agent, runs, models, tools)  # type: ignore[arg-type]


def _count(day: Day, points: _Gathered, seen: _Gathered) -> None:
    runs, models, tools, agent = day.runs, day.models, day.tools, day.agent.name
    count = len(runs.start)
    due = runs.end + _JUDGED_S
    releases = [f"1.{number}.0" for number in range(int(runs.release.max(initial=0)) + 1)]

    rescued = (models.state == FAILED) & ~_ended(models, runs.failed)
    good = models.state != FAILED
    of_model = _Series(points, _minute(models.start + models.duration, due[models.run]), runs.release[models.run], [
        ("", "model", agent, model.provider, model.name, "", release, "") for release in releases for model in MODELS
    ], models.model, len(MODELS))  # fmt: skip
    never = np.zeros(len(good), dtype=np.bool_)
    of_model.hits("model_error", ~good)
    of_model.hits("model_truncated", models.state == LENGTH, good)
    for name in ("model_filtered", "model_empty", "model_interrupted", "model_mismatch"):
        of_model.hits(name, never, good)
    of_model.hits("model_retried", rescued)
    of_model.level("model_latency", models.duration, good)
    if day.agent.first_token_attribute:
        of_model.level("model_first_token", models.first_token, good)
    left = models.duration - (models.first_token if day.agent.first_token_attribute else 0.0)
    measured = np.where(left >= 0.05 * models.duration, left, models.duration)
    of_model.level("model_speed", models.output_tokens / measured, good & (models.output_tokens >= 16))
    of_model.level("model_output_tokens", models.output_tokens, good)
    of_model.level("model_input_tokens", models.input_tokens, good)
    reasons = np.array([bool(model.reasoning) for model in MODELS])[models.model]
    of_model.level("model_reasoning_tokens", models.reasoning_tokens + 1, good & reasons)

    ok = ~np.isin(tools.state, (ERROR, INVALID))
    of_tool = _Series(points, _minute(tools.start + tools.duration, due[tools.run]), runs.release[tools.run], [
        ("", "tool", agent, "", "", tool.name, release, "") for release in releases for tool in TOOLS
    ], tools.tool, len(TOOLS))  # fmt: skip
    of_tool.hits("tool_error", ~ok)
    of_tool.hits("tool_silent_failure", tools.state == SWALLOWED)
    of_tool.hits("tool_empty", tools.state == EMPTY, ok)
    of_tool.hits("tool_invalid", tools.state == INVALID)
    sound = ok & (tools.state != SWALLOWED)
    of_tool.level("tool_latency", tools.duration, sound)
    of_tool.level("tool_result_size", np.where(tools.state == EMPTY, 3.0, 47.0), sound)

    of_run = _Series(points, _minute(runs.end, due), runs.release, [
        ("", "run", agent, "", "", "", release, "") for release in releases
    ], np.zeros(count, dtype=np.int64), 1)  # fmt: skip
    bad = np.bincount(tools.run[tools.state > EMPTY], minlength=count) > 0
    looped = np.bincount(tools.run[tools.argument == -1], minlength=count) > 0
    cut = np.bincount(models.run[models.state == LENGTH], minlength=count) > 0
    of_run.hits("run_failed", runs.failed)
    of_run.hits("run_degraded", runs.failed | bad | looped | cut)
    of_run.hits("run_rescued", ~runs.failed & (np.bincount(models.run[rescued], minlength=count) > 0))
    of_run.hits("run_looped", looped)
    of_run.hits("run_invalid_call", np.bincount(tools.run[tools.state == INVALID], minlength=count) > 0)
    for name in ("run_stalled", "run_incomplete"):
        of_run.hits(name, np.zeros(count, dtype=np.bool_))
    of_run.level("run_latency", runs.end - runs.start)
    of_run.level("run_steps", 1 + np.bincount(models.run, minlength=count))
    of_run.level("run_tool_calls", 1 + np.bincount(tools.run, minlength=count))
    tokens = np.where(good, models.input_tokens + models.output_tokens, 0)
    of_run.level("run_tokens", np.bincount(models.run, tokens, count), np.bincount(models.run, good, count) > 0)
    cost: Values = np.bincount(models.run, _cost(models) * good, count).astype(np.float64)
    of_run.level("run_cost", cost, cost > 0)
    of_run.amount("run_traffic", np.ones(count))
    of_run.amount("run_spend", cost)
    _sightings(day, of_model, of_run, releases, seen)


@dataclass(slots=True)
class _Series:
    """Facts about calls of one kind, by minute, release and what was called."""

    points: _Gathered
    minute: Rows
    release: Rows
    keys: list[Key]
    what: Rows
    kinds: int
    _group: Rows = field(init=False)
    _minutes: Rows = field(init=False)
    _series: list[Key] = field(init=False)

    def __post_init__(self) -> None:
        code = (self.minute * (len(self.keys) // self.kinds) + self.release) * self.kinds + self.what
        distinct, self._group = np.unique(code, return_inverse=True)
        self._minutes, series = np.divmod(distinct, len(self.keys))
        self._series = [self.keys[number] for number in series.tolist()]

    def hits(self, signal: str, hit: Mask, among: Mask | None = None) -> None:
        trials = np.ones(len(hit)) if among is None else among.astype(np.float64)
        self._add(signal, trials, hit * trials, np.zeros(len(hit)))

    def level(self, signal: str, value: Values | Rows, among: Mask | None = None) -> None:
        assert BY_NAME[signal].form is Form.LEVEL
        weight = np.ones(len(value)) if among is None else among.astype(np.float64)
        value = np.maximum(value, 1e-6).astype(np.float64)
        logs = np.log(value) * weight
        rows = np.flatnonzero(weight)
        buckets, once = histogram.bucket_of(logs[rows]), np.ones(len(rows), dtype=np.int64)
        lists = histogram.gathered(self._group[rows], buckets, once, len(self._minutes))
        self._add(signal, weight, logs, logs * logs, lists if signal in DERIVED else None)

    def amount(self, signal: str, value: Values) -> None:
        self._add(signal, np.ones(len(value)), value, np.zeros(len(value)))

    def _add(
        self,
        signal: str,
        n: Values,
        total: Values,
        squares: Values,
        lists: tuple[pa.ListArray, pa.ListArray] | None = None,
    ) -> None:
        size = len(self._minutes)
        keys = [(*key, signal) for key in self._series]
        n, total, squares = (np.bincount(self._group, part, size).astype(np.float64) for part in (n, total, squares))
        self.points.add(keys, self._minutes, n, total, squares, lists)


def _minute(end: Times, due: Times) -> Rows:
    return (np.maximum(end, due - _LATENESS_S) // 60).astype(np.int64)


def _ended(models: ModelCalls, failed: Mask) -> Mask:
    """Failed calls that ended their run: its last in time."""
    over = np.zeros(len(failed))
    np.maximum.at(over, models.run, models.start)
    ended: Mask = failed[models.run] & (models.start == over[models.run])
    return ended


def _cost(models: ModelCalls) -> Values:
    prices = [Prices.load().of(model.name) for model in MODELS]
    table = np.array([(price.input, price.output) if price else (0.0, 0.0) for price in prices])[models.model]
    cost: Values = (models.input_tokens * table[:, 0] + models.output_tokens * table[:, 1]) / 1e6
    return cost


def _sightings(day: Day, of_model: _Series, of_run: _Series, releases: Sequence[str], seen: _Gathered) -> None:
    agent, models = day.agent.name, day.models
    good = models.state != FAILED
    for index in day.agent.models:
        model = MODELS[index]
        for answered, rows in (
            (model.answered, good & (models.model == index) & ~models.successor),
            (model.successor, good & (models.model == index) & models.successor),
        ):
            _see(seen, ("", agent, "answered_model", model.name, answered), of_model.minute[rows])
    for number, release in enumerate(releases):
        _see(seen, ("", agent, "release", "", release), of_run.minute[of_run.release == number])


def _see(seen: _Gathered, key: Key, minute: Rows) -> None:
    distinct, count = np.unique(minute, return_counts=True)
    nothing = np.zeros(len(distinct))
    seen.add([key] * len(distinct), distinct, count.astype(np.float64), nothing, nothing)
