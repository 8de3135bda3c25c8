"""How the signal that stands for an incident ran lately: minute by minute while it is young, then by ten minutes."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.incidents.case import Case
from detectors.incidents.causes import FloatArray
from detectors.incidents.grouping import MINUTE
from detectors.incidents.incident import Recent
from detectors.incidents.inputs import View
from detectors.incidents.kinds import leading

_YOUNG: Final = 15 * MINUTE
"""Until so long after its onset the minutes before it are still among those that the engine knows one by one."""
_MINUTES: Final = 20
_BLOCKS: Final = 12
_BLOCK: Final = 10
"""Minutes."""
_LEAST: Final = 3
"""Steps with anything in them."""


def recent(view: View, case: Case) -> Recent | None:
    """As of now, in the scope of the incident; None where too little was measured."""
    incident = case.incident
    signals = [measure.signal for measure in incident.measures.values() if measure.direct] or list(incident.measures)
    if not signals:
        return None
    signal = leading(signals)
    if view.now_ns - incident.started_ns <= _YOUNG:
        step, steps = 1, _MINUTES
        start_ns = view.now_ns - steps * MINUTE
    else:
        step, steps = _BLOCK, _BLOCKS
        last_ns = view.now_ns - MINUTE
        start_ns = last_ns - last_ns % (step * MINUTE) - (steps - 1) * step * MINUTE
    cells = view.one(signal, start_ns)
    chosen = np.flatnonzero(cells.of(incident.scope, case.agents))
    nodes = {cells.nodes[cell] for cell in chosen}
    observed, expected = view.engine.recent(signal, nodes, start_ns, step, steps)
    if np.isfinite(observed).sum() < _LEAST:
        return None
    return Recent(signal, start_ns, step * 60, _rounded(observed), _rounded(expected))


def _rounded(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(float(f"{value:.3g}") if np.isfinite(value) else None for value in values.tolist())
