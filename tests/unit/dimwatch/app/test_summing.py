"""The sums' thread ends with its process: soon after a signal, and not in the middle of a statement."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from dimwatch.app.stopping import Stop
from dimwatch.app.summing import Summing


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handlers as they were, afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, one in before.items():
        signal.signal(number, one)


class Slow:
    """A store where three hours are due, and whose first sum takes until `go_on`."""

    def __init__(self) -> None:
        self.summing, self.go_on = threading.Event(), threading.Event()
        self.finished = 0
        self.closed_after = -1

    def command(self, sql: str) -> str:
        if "GROUPING SETS" not in sql:
            return (
                "7200\t0" if "model_call_versions" not in sql else "0\n3600\n7200" if "hour, max" in sql else "1\t1\t1"
            )
        self.summing.set()
        assert self.go_on.wait(30)
        self.finished += 1
        return ""

    def insert(self, table: str, rows: pa.Table) -> None:
        raise AssertionError("there are no calls")

    def close(self) -> None:
        self.closed_after = self.finished


def test_a_signal_ends_the_sums_after_the_statement_at_hand() -> None:
    stop, slow = Stop.by_signals(), Slow()
    sums = Summing(slow, stop, slow.close, every_s=0.01)
    sums.start()
    assert slow.summing.wait(30)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.sleep(30)
    slow.go_on.set()
    sums.join()
    assert (slow.finished, slow.closed_after) == (1, 1), "the statement at hand, no other, and then the connection"


def test_a_signal_ends_the_wait_for_the_next_minute() -> None:
    stop, slow = Stop.by_signals(), Slow()
    sums = Summing(slow, stop, slow.close)
    sums.start()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.sleep(30)
    sums.join()
    assert (slow.finished, slow.closed_after) == (0, 0)


def test_what_nobody_foresaw_does_not_end_the_sums() -> None:
    class Odd(Slow):
        def command(self, sql: str) -> str:
            if not self.go_on.is_set():
                self.go_on.set()
                raise ValueError("not a number")
            return super().command(sql)

    stop, odd = Stop.by_signals(), Odd()
    sums = Summing(odd, stop, odd.close, every_s=0.01)
    sums.start()
    assert odd.summing.wait(30)
    os.kill(os.getpid(), signal.SIGTERM)
    sums.join()
    assert odd.closed_after > 0
