"""The ledger follows from the minutes alone: not from the order of rows, and not from when it was restarted."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.alerts import Node
from detectors.changes.change import Change
from detectors.changes.ledger import Ledger
from detectors.windows.minute import Minute
from dimwatch.errors import InvalidError
from tests.fleet_minutes import Agent, minutes

Told = list[tuple[Node, tuple[str, ...], int]]


class Engine:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: Told = []

    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None:
        self.told.append((node, tuple(signals), since_ns))


def _agent(number: int, **values: float) -> Agent:
    return Agent(f"agent{number}", values={("release", ""): values, ("answered_model", "gpt-4o"): values})


FLEET = list(
    minutes(
        [
            (80, [_agent(0, a=1), _agent(1, a=0.6, b=0.4)]),
            (30, [_agent(0, a=0.5, c=0.5).like(tokens=600.0), _agent(1, b=1)]),
            (60, [_agent(0, c=1).like(tokens=600.0), _agent(1, a=1).like(tools=("other",))]),
            (20, [_agent(0, a=1), _agent(1, a=1, d=1).like(errors=0.3), _agent(2, z=1)]),
        ]
    )
)


def _run(fleet: list[Minute], restarts: Collection[int] = ()) -> tuple[list[Change], Told, bytes]:
    ledger, engine, found = Ledger(), Engine(), []
    for number, minute in enumerate(fleet):
        if number in restarts:
            state = ledger.snapshot()
            ledger = Ledger()
            ledger.restore(state)
            assert ledger.snapshot() == state
        found += ledger.step(minute, engine)
    return found, engine.told, ledger.snapshot()


WHOLE = _run(FLEET)


def test_something_happens_in_this_fleet() -> None:
    found, told, _ = WHOLE
    assert {change.status for change in found} >= {"appeared", "rolled_back"}
    assert told


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(0, len(FLEET) - 1), max_size=6))
def test_restarts_change_nothing(restarts: set[int]) -> None:
    assert _run(FLEET, restarts) == WHOLE


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    shuffled = [
        Minute(
            minute.start_ns,
            minute.points.take(random.permutation(len(minute.points))),
            minute.sightings.take(random.permutation(len(minute.sightings))),
        )
        for minute in FLEET
    ]
    found, told, _ = _run(shuffled)
    assert [(change.row() | {"effects": ""}) for change in found] == [
        (change.row() | {"effects": ""}) for change in WHOLE[0]
    ]
    assert told == WHOLE[1]


@given(st.binary(max_size=100))
def test_other_bytes_are_refused(state: bytes) -> None:
    with pytest.raises(InvalidError):
        Ledger().restore(state)
