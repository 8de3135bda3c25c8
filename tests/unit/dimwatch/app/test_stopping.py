"""A signal ends what a role does, also while it sleeps."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from dimwatch.app.stopping import Stop


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers as they were, afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_sleep(number: signal.Signals) -> None:
    stop = Stop.by_signals()
    assert not stop.sleep(0.01)
    sender = threading.Timer(0.2, os.kill, (os.getpid(), number))
    sender.start()
    began = time.monotonic()
    assert stop.sleep(60)
    assert time.monotonic() - began < 30
    sender.join()
    assert stop.requested


def test_what_a_signal_has_asked_for_is_not_forgotten_by_the_next() -> None:
    first = Stop.by_signals()
    first.request()
    second = Stop.by_signals()
    assert not second.requested, "no signal asked the first"
    os.kill(os.getpid(), signal.SIGINT)
    assert second.sleep(60)
    assert Stop.by_signals().requested


def test_many_signals_at_once_do_not_stand_in_each_others_way() -> None:
    stop = Stop.by_signals()

    def handle(_number: int, _frame: object) -> None:
        stop.request()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        for _ in range(2_000):
            stop.requested = False
            stop.sleep(1e-4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
