"""Twelve kinds of faults, how deep each goes, and a timetable of them with the truth about each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.fleet.world import AGENTS, MODELS, PROVIDERS, TOOLS

Times = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BROWNOUT_SPEED: Final = 0.6
BROWNOUT_FIRST_TOKEN: Final = 1.8
EMPTY: Final = 0.30
ERRORS: Final = 0.08
OUTAGE_ERRORS: Final = 0.95
OUTAGE_RESCUED: Final = 0.3
REASONING: Final = 3.0
TOOL_LATENCY: Final = 2.2
TRUNCATED: Final = 0.10
SWALLOWED: Final = 0.15
LOOPING: Final = 0.10
INVALID: Final = 0.10
"""The depths; usual rates are in `draw`."""

_SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "brownout": ("provider",),
    "tool_empty": ("tool",),
    "provider_errors": ("provider",),
    "model_change": ("model",),
    "reasoning": ("model", "agent"),
    "silence": ("agent",),
    "tool_latency": ("tool",),
    "truncation": ("model", "agent"),
    "outage": ("provider",),
    "swallowed_errors": ("tool",),
    "loops": ("agent",),
    "invalid_calls": ("agent",),
}
KINDS: Final = tuple(_SCOPES)

FAMILY: Final[Mapping[str, frozenset[str]]] = {
    "brownout": frozenset({"brownout"}),
    "tool_empty": frozenset({"tool_degradation", "quality_drop"}),
    "provider_errors": frozenset({"brownout", "outage"}),
    "model_change": frozenset({"model_change"}),
    "reasoning": frozenset({"cost_spike", "behaviour_shift"}),
    "silence": frozenset({"silence"}),
    "tool_latency": frozenset({"tool_degradation"}),
    "truncation": frozenset({"quality_drop"}),
    "outage": frozenset({"outage"}),
    "swallowed_errors": frozenset({"tool_degradation"}),
    "loops": frozenset({"behaviour_shift", "cost_spike", "quality_drop"}),
    "invalid_calls": frozenset({"quality_drop", "tool_degradation", "behaviour_shift"}),
}
"""The kinds of incident that say what happened."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the truth. Times are seconds since the fleet's first moment."""

    kind: str
    scope: Mapping[str, str]
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Timetable:
    """All faults of a run."""

    faults: tuple[Fault, ...] = field(default=())

    def active(self, kind: str, at_s: Times, **where: str) -> Mask:
        """At which of these times a fault of this kind holds for a call of this agent, provider, model or tool."""
        mask = np.zeros(len(at_s), dtype=np.bool_)
        for fault in self.faults:
            if fault.kind == kind and all(where.get(name) == value for name, value in fault.scope.items()):
                mask |= (at_s >= fault.start_s) & (at_s < fault.end_s)
        return mask


def timetable(seed: int, days: float, kinds: Collection[str] = KINDS, *, calm_h: float = 24.0) -> Timetable:
    """Each kind once, in random order, in a slot of its own after the calm beginning, at least half of it recovery."""
    rng = np.random.default_rng([seed, 7])
    order = [str(kind) for kind in rng.permutation([kind for kind in KINDS if kind in kinds])]
    slot = (days * 24 - calm_h) * 3600 / max(len(order), 1)
    if order and slot < 7200:
        raise ValueError(f"{len(order)} faults need at least {calm_h + 2 * len(order):.0f} hours")
    faults = []
    for number, kind in enumerate(order):
        start = calm_h * 3600 + slot * (number + rng.uniform(0.05, 0.15))
        length = min(rng.uniform(3600, 7200), slot / 2)
        faults.append(Fault(kind, _scope(rng, kind), start, start + length))
    return Timetable(tuple(faults))


def _scope(rng: np.random.Generator, kind: str) -> dict[str, str]:
    dimension = str(rng.choice(_SCOPES[kind]))
    models = [m for m in MODELS if m.reasoning] if kind == "reasoning" else list(MODELS)
    if dimension == "provider":
        return {"provider": str(rng.choice(PROVIDERS))}
    if dimension == "model":
        model = models[int(rng.integers(len(models)))]
        return {"provider": model.provider, "model": model.name}
    if dimension == "tool":
        return {"tool": TOOLS[int(rng.integers(len(TOOLS)))].name}
    agents = [a for a in AGENTS if kind != "reasoning" or MODELS[a.models[0]].reasoning]
    return {"agent": agents[int(rng.integers(len(agents)))].name}
