"""What a minute says that agents run on: its sightings, and the models and tools of its points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from detectors.changes.sums import TrackKey
from detectors.windows.bounds import OTHER
from dimwatch import vocabulary

_NOTHING: Final = frozenset({"", OTHER, f"{OTHER}/{OTHER}"})
"""What is not told, and what there was no room to keep apart."""


def sighted(
    sightings: pa.Table, called: Iterable[tuple[TrackKey, str, float]]
) -> list[tuple[TrackKey, dict[str, float]]]:
    """How often each value was seen: values sorted in tracks, tracks sorted."""
    found: dict[TrackKey, dict[str, float]] = {}
    columns = [sightings[name].to_pylist() for name in ("tenant", "agent", "attribute", "key", "value", "n")]
    for tenant, agent, attribute, key, value, n in zip(*columns, strict=True):
        # The answered model with or without a router's prefix is the same one.
        name = vocabulary.model(value) if attribute == "answered_model" else value
        _count(found, (tenant, agent, attribute, key), name, n)
    for track, value, n in called:
        _count(found, track, value, n)
    return [(key, dict(sorted(found[key].items())) if len(found[key]) > 1 else found[key]) for key in sorted(found)]


def _count(found: dict[TrackKey, dict[str, float]], track: TrackKey, value: str, n: float) -> None:
    if n > 0 and value not in _NOTHING and track[1] != OTHER:
        values = found.setdefault(track, {})
        values[value] = values.get(value, 0.0) + n
