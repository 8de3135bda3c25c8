"""What a minute says that agents run on: its sightings, and the models and tools of its points."""

from __future__ import annotations

from typing import Final

import pyarrow.compute as pc

from detectors.windows.minute import Minute
from dimwatch import vocabulary

TrackKey = tuple[str, str, str, str]
"""Tenant, agent, attribute, key."""

_CALLS: Final = {"model_error": "model", "tool_error": "tool"}
"""Signals whose trials are all calls, and the attribute that they tell."""


def sighted(minute: Minute) -> list[tuple[TrackKey, dict[str, float]]]:
    """How often each value was seen, values sorted in tracks, tracks sorted."""
    found: dict[TrackKey, dict[str, float]] = {}
    columns = [minute.sightings[name].to_pylist() for name in ("tenant", "agent", "attribute", "key", "value", "n")]
    for tenant, agent, attribute, key, value, n in zip(*columns, strict=True):
        # The answered model with or without a router's prefix is the same one.
        name = vocabulary.model(value) if attribute == "answered_model" else value
        _count(found, (tenant, agent, attribute, key), name, n)
    points = minute.points
    for signal, attribute in _CALLS.items():
        calls = points.filter(pc.equal(points["signal"], signal))
        columns = [calls[name].to_pylist() for name in ("tenant", "agent", "provider", attribute, "n")]
        for tenant, agent, provider, value, n in zip(*columns, strict=True):
            name = f"{provider}/{value}" if provider and value else value
            _count(found, (tenant, agent, attribute, ""), name, n)
    return [(key, dict(sorted(values.items()))) for key, values in sorted(found.items())]


def _count(found: dict[TrackKey, dict[str, float]], track: TrackKey, value: str, n: float) -> None:
    if value and n > 0:
        values = found.setdefault(track, {})
        values[value] = values.get(value, 0.0) + n
