"""Minutes of a made-up fleet as the windower gives them: for tests of what reads `Minute`s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.windows.minute import MINUTE_NS, Minute
from dimwatch.records import POINT, SIGHTING

START_NS = 1_750_000_000_000_000_000 // (60 * MINUTE_NS) * (60 * MINUTE_NS)
"""The full hour at which these fleets begin."""


@dataclass
class Agent:
    """How an agent behaves in a minute; `like` gives another behaviour."""

    name: str = "support"
    runs: float = 5.0
    """Runs a minute, on average."""
    model: str = "gpt-4o"
    provider: str = "openai"
    tools: tuple[str, ...] = ("search",)
    tokens: float = 400.0
    """Output tokens a call, geometric mean."""
    latency: float = 2.0
    """Seconds a run, geometric mean."""
    errors: float = 0.02
    """Share of failed model calls."""
    values: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    """By attribute and key the shares of values that are sighted, once a run."""

    def like(self, **changes: Any) -> Agent:
        """The same agent, with something changed."""
        return replace(self, **changes)


def minutes(spans: Iterable[tuple[int, Iterable[Agent]]], seed: int = 1, start_ns: int = START_NS) -> Iterator[Minute]:
    """`spans`: how many minutes, and which agents do what in them."""
    random, at = np.random.default_rng(seed), start_ns
    for count, agents in spans:
        agents = list(agents)
        for _ in range(count):
            yield _minute(random, at, agents)
            at += MINUTE_NS


def _minute(random: np.random.Generator, at: int, agents: Iterable[Agent]) -> Minute:
    points: list[dict[str, object]] = []
    sightings: list[dict[str, object]] = []
    for agent in agents:
        runs = int(random.poisson(agent.runs))
        if not runs:
            continue
        calls = 2 * runs
        model = {"subject": "model", "provider": agent.provider, "model": agent.model}
        rows: list[tuple[dict[str, str], str, float, float, float]] = [
            (model, "model_error", calls, int(random.binomial(calls, agent.errors)), 0.0),
            (model, "model_output_tokens", *_logs(random, agent.tokens, 0.5, calls)),
            ({"subject": "run"}, "run_latency", *_logs(random, agent.latency, 0.4, runs)),
            ({"subject": "run"}, "run_traffic", runs, runs, 0.0),
            ({"subject": "run"}, "run_spend", runs, 0.01 * runs, 0.0),
        ]
        for tool in agent.tools:
            rows.append(({"subject": "tool", "tool": tool}, "tool_invalid", runs, 0.0, 0.0))
        base = {"tenant": "acme", "agent": agent.name, "time": at, "bucket": [], "bucket_count": []}
        names = dict.fromkeys(("provider", "model", "tool", "release", "region"), "")
        for of, signal, n, total, squares in rows:
            points.append({**base, **names, **of, "signal": signal, "n": n, "total": total, "squares": squares})
        for (attribute, key), shares in agent.values.items():
            weights = np.array(list(shares.values()))
            seen = random.multinomial(runs, weights / weights.sum())
            for value, n in zip(shares, seen.tolist(), strict=True):
                if n:
                    who = {"tenant": "acme", "agent": agent.name, "attribute": attribute, "key": key}
                    sightings.append({**who, "value": value, "time": at, "n": n})
    return Minute(at, _table(points, POINT), _table(sightings, SIGHTING))


def _logs(random: np.random.Generator, level: float, sigma: float, n: int) -> tuple[float, float, float]:
    logs = np.log(level) + sigma * random.standard_normal(n)
    return n, float(logs.sum()), float((logs**2).sum())


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    keys = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in keys])
    return pa.Table.from_pylist(ordered, schema=schema)
