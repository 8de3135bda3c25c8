"""Engine and change ledger together: what a change explains alarms nobody, what it does not explain does."""

from __future__ import annotations

from functools import cache

import pytest

from detectors.alerts import Alert
from detectors.changes.ledger import Ledger
from detectors.engine import Engine
from detectors.windows.minute import MINUTE_NS
from dimwatch.settings import Detection
from tests.fleet_minutes import START_NS, Agent, minutes

HOUR = 60
OLD = Agent(runs=8.0, values={("release", ""): {"1.4": 1.0}})
NEW = {("release", ""): {"1.5": 1.0}}


WARM = 6 * HOUR


@cache
def warm() -> tuple[bytes, bytes]:
    """Engine and ledger that know the old release."""
    engine, ledger = Engine(Detection()), Ledger()
    for minute in minutes([(WARM, [OLD])], seed=3):
        assert ledger.step(minute, engine) == []
        assert engine.step(minute) == []
    return engine.snapshot(), ledger.snapshot()


def alerts(after: Agent, ledger: Ledger | None) -> list[list[Alert]]:
    """By minute after the change, in the hour and a half that follow it; with and without the ledger's word."""
    engine, found = Engine(Detection()), []
    engine.restore(warm()[0])
    if ledger is not None:
        ledger.restore(warm()[1])
    for minute in minutes([(90, [after])], seed=4, start_ns=START_NS + WARM * MINUTE_NS):
        if ledger is not None:
            ledger.step(minute, engine)
        found.append(engine.step(minute))
    return found


def signals(fired: list[list[Alert]]) -> set[str]:
    return {alert.signal for minute in fired for alert in minute}


@pytest.mark.parametrize("signal", ["model_output_tokens", "run_latency"])
def test_a_release_that_answers_otherwise_alarms_nobody(signal: str) -> None:
    after = OLD.like(values=NEW, tokens=600.0) if signal == "model_output_tokens" else OLD.like(values=NEW, latency=3.0)
    alone = alerts(after, None)
    assert signal in {alert.signal for alert in alone[-1]}
    ledger = Ledger()
    told = alerts(after, ledger)
    assert signals(told) == set()
    (change,) = (entry.change for entry in ledger.entries.values())
    assert change.rebaselined == (signal,)


def test_a_release_that_fails_is_an_alarm_with_the_release_as_its_cause() -> None:
    ledger = Ledger()
    fired = alerts(OLD.like(values=NEW, errors=0.2), ledger)
    first = next(alert for minute in fired for alert in minute)
    assert first.signal == "model_error"
    assert "model_error" in signals(fired[-1:])
    around = first.since_ns - 30 * MINUTE_NS, first.since_ns + 10 * MINUTE_NS
    (cause,) = ledger.since(*around)
    assert (cause.attribute, cause.before, cause.after) == ("release", "1.4", "1.5")


def test_a_release_that_triples_the_tokens_stays_an_alarm() -> None:
    ledger = Ledger()
    fired = alerts(OLD.like(values=NEW, tokens=1200.0), ledger)
    assert "model_output_tokens" in signals(fired[-1:])
    (change,) = (entry.change for entry in ledger.entries.values())
    assert change.too_large == ("model_output_tokens",)
