"""What is declared normal is what is expected from then on, for every form of signal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from detectors.alerts import Node
from detectors.engine import Engine
from detectors.windows.minute import MINUTE_NS, Minute
from dimwatch.records import POINT, SIGHTING
from dimwatch.settings import Detection

_CHANGE = 480
_TOLD = 560
_END = 600


def _minute(number: int, rng: np.random.Generator) -> Minute:
    """Ten calls of one model: tokens fall from 7.4 to 4.5 and errors rise from 2% to 10% at the change."""
    changed = number >= _CHANGE
    logs = rng.normal(1.5 if changed else 2.0, 0.3, 10)
    errors = float(rng.binomial(10, 0.1 if changed else 0.02))
    common: dict[str, object] = {
        "tenant": "",
        "subject": "model",
        "agent": "a",
        "provider": "p",
        "model": "m",
        "tool": "",
    }
    common |= {"release": "2" if changed else "1", "region": "", "n": 10.0, "bucket": [], "bucket_count": []}
    start = number * MINUTE_NS
    rows = [
        common | {"time": start, "signal": "model_error", "total": errors, "squares": 0.0},
        common | {"time": start, "signal": "model_output_tokens", "total": logs.sum(), "squares": (logs**2).sum()},
    ]
    return Minute(start, pa.Table.from_pylist(rows, schema=POINT), SIGHTING.empty_table())


def test_after_a_rebaseline_the_new_behaviour_is_expected() -> None:
    rng = np.random.default_rng(3)
    engine = Engine(Detection())
    for number in range(_END):
        engine.step(_minute(number, rng))
        if number == _TOLD:
            engine.rebaseline(Node.make(agent="a"), ["model_error", "model_output_tokens"], _CHANGE * MINUTE_NS)
    level = engine.evidence("model_output_tokens", (_TOLD + 10) * MINUTE_NS)
    assert abs(level.observed.sum()) < 4 * np.sqrt(level.expected.sum())
    hits = engine.evidence("model_error", (_TOLD + 10) * MINUTE_NS)
    assert hits.expected.sum() / hits.n.sum() == pytest.approx(0.1, abs=0.04)
    assert not engine.step(_minute(_END, rng))


def test_what_was_gathered_under_an_incident_is_not_held_against_what_comes_after() -> None:
    rng = np.random.default_rng(3)
    engine, settled = Engine(Detection()), Engine(Detection())
    number = 0
    while number < _CHANGE + 2:
        assert not engine.step(_minute(number, rng))
        number += 1
    settled.restore(engine.snapshot())
    settled.settle([("", "a")], ["model_error", "model_output_tokens"])
    fired: dict[str, int] = {}
    while len(fired) < 2:
        minute = _minute(number, rng)
        for name, of in (("held", engine), ("settled", settled)):
            if of.step(minute):
                fired.setdefault(name, number)
        number += 1
    assert fired["held"] + 2 <= fired["settled"]
