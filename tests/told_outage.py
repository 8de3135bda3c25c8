"""A small fleet as a worker tells of it: points and sightings of every minute, with one outage of a provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from detectors.windows.minute import MINUTE_NS
from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import POINT, POINT_WIDTH_NS, SIGHTING, table_from_rows
from dimwatch.settings import Detection

START_NS = 1_800_000_000 * NS_PER_SECOND // (3600 * NS_PER_SECOND) * 3600 * NS_PER_SECOND
DETECTION = Detection(guard_h=0.2, half_life_h=0.5, lateness_s=20.0)
MINUTES = 330
OUTAGE = range(290, 305)
AGENTS = {"support": "openai", "sales": "openai", "coder": "anthropic"}


@dataclass(frozen=True)
class Told:
    """What a worker says at a time."""

    watermark_ns: int
    points: pa.Table
    sightings: pa.Table


def told(start_ns: int = START_NS, minutes: int = MINUTES, seed: int = 1) -> Iterator[Told]:
    """What the worker of the fleet says after every minute, three seconds late."""
    rng = np.random.default_rng(seed)
    for minute in range(minutes):
        time_ns = start_ns + minute * MINUTE_NS + int(rng.integers(6)) * POINT_WIDTH_NS
        points: list[dict[str, object]] = []
        sightings: list[dict[str, object]] = []
        for agent, provider in AGENTS.items():
            calls, runs = int(rng.poisson(60)), int(rng.poisson(15))
            share = 0.8 if provider == "openai" and minute in OUTAGE else 0.01
            of = {"time": time_ns, "agent": agent, "bucket": [], "bucket_count": [], "squares": 0.0, "release": "1"}
            of |= {"tenant": "", "region": "", "provider": "", "model": "", "tool": ""}
            model = {"subject": "model", "provider": provider, "model": "m", "signal": "model_error"}
            if calls:
                points.append({**of, **model, "n": float(calls), "total": float(rng.binomial(calls, share))})
                sighting = {"tenant": "", "agent": agent, "attribute": "answered_model", "key": "m", "value": "m-1"}
                sightings.append({**sighting, "time": time_ns, "n": float(calls)})
            if runs:
                points.append({**of, "subject": "run", "signal": "run_traffic", "n": float(runs), "total": 0.0})
                failed = float(rng.binomial(runs, 0.7 * share))
                points.append({**of, "subject": "run", "signal": "run_failed", "n": float(runs), "total": failed})
        watermark_ns = start_ns + (minute + 1) * MINUTE_NS + 3 * NS_PER_SECOND
        yield Told(watermark_ns, table_from_rows(POINT, points), table_from_rows(SIGHTING, sightings))
