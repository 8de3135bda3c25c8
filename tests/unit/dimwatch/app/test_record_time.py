"""A partition's watermark goes back where a clock was set back, and only there."""

from __future__ import annotations

from dimwatch import records
from dimwatch.app.record_time import MOMENT_NS, PATIENCE_NS, Watermark
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings

NOW = 1_800_000_000 * NS_PER_SECOND
HOUR = 3600 * NS_PER_SECOND
SECOND = NS_PER_SECOND


class WrongClock:
    """A clock that is set forward and back."""

    def __init__(self, now_ns: int) -> None:
        self.at_ns = now_ns

    def now_ns(self) -> int:
        return self.at_ns


def test_it_goes_forward_and_old_records_do_not_set_it_back() -> None:
    mark = Watermark()
    assert not mark.tell(NOW, NOW, read=True)
    for second in range(60):  # a collector sends what it kept back for an hour
        assert not mark.tell(NOW - HOUR + second * SECOND, NOW + second * SECOND, read=True)
    assert mark.at_ns == NOW


def test_records_of_a_clock_that_was_set_back_set_it_back_after_a_moment() -> None:
    mark = Watermark()
    mark.tell(NOW + 6 * HOUR, NOW, read=True)  # a collector on another machine leapt ahead
    assert not mark.tell(NOW + SECOND, NOW + SECOND, read=True)
    assert mark.at_ns == NOW + 6 * HOUR
    assert mark.tell(NOW + SECOND + MOMENT_NS, NOW + SECOND + MOMENT_NS, read=True)
    assert mark.at_ns == NOW + SECOND + MOMENT_NS


def test_a_word_of_the_right_time_ends_the_doubt() -> None:
    mark = Watermark()
    mark.tell(NOW + 6 * HOUR, NOW, read=True)
    for second in range(0, 60, 2):  # one of two collectors is wrong, and stays so
        assert not mark.tell(NOW + second * SECOND, NOW + second * SECOND, read=True)
        assert not mark.tell(NOW + 6 * HOUR + second * SECOND, NOW + second * SECOND, read=True)
    assert mark.at_ns == NOW + 6 * HOUR + 58 * SECOND


def test_a_machine_whose_clock_is_slow_does_not_set_it_back_while_nothing_comes() -> None:
    mark = Watermark()
    mark.tell(NOW, NOW - HOUR, read=True)
    for second in range(60):
        assert not mark.tell(NOW - HOUR + second * SECOND, NOW - HOUR + second * SECOND, read=False)
    assert mark.at_ns == NOW


def test_less_than_the_patience_is_nothing() -> None:
    mark = Watermark()
    mark.tell(NOW + PATIENCE_NS, NOW, read=True)
    for second in range(60):
        assert not mark.tell(NOW + second * SECOND, NOW + second * SECOND, read=True)


def test_the_worker_goes_on_with_the_right_time_and_checkpoints_are_not_put_off() -> None:
    clock, log = WrongClock(NOW), MemoryEventLog()
    worker = Worker(Settings(), log, clock)

    def live(seconds: int) -> None:
        for _ in range(seconds):
            clock.at_ns += SECOND
            worker.step(0.0)

    def marks() -> list[int]:
        consumer = log.consumer("marks", [records.POINTS])
        found = consumer.poll(max_records=10_000, max_bytes=1 << 30, timeout_s=0.0)
        consumer.close()
        return [record.timestamp_ns for record in found]

    live(30)
    clock.at_ns += 6 * HOUR
    live(30)
    assert marks()[-1] > NOW + 6 * HOUR
    clock.at_ns -= 6 * HOUR
    live(30)
    assert clock.at_ns - 15 * SECOND < marks()[-1] < clock.at_ns
    log.append({records.OTLP_SPANS: [NewRecord(b"\x0a\xff", clock.at_ns)]})
    live(5)
    assert worker._consumer.lag()[next(iter(worker._consumer.assignment()))].records == 0
    assert all(lag.records == 0 for lag in log.consumer("worker", [records.OTLP_SPANS]).lag().values())


def test_a_worker_that_starts_after_the_clock_was_set_back_goes_on_with_the_right_time() -> None:
    clock, log = WrongClock(NOW + 6 * HOUR), MemoryEventLog()
    worker = Worker(Settings(), log, clock)
    log.append({records.OTLP_SPANS: [NewRecord(b"\x0a\xff", clock.at_ns)]})
    worker.step(0.0)
    clock.at_ns -= 6 * HOUR
    worker = Worker(Settings(), log, clock)
    for _ in range(20):
        clock.at_ns += SECOND
        log.append({records.OTLP_SPANS: [NewRecord(b"\x0a\xff", clock.at_ns)]})
        worker.step(0.0)
    (record, *_) = log.consumer("marks", [records.POINTS]).poll(max_records=1, max_bytes=1, timeout_s=0.0)
    assert record.timestamp_ns > NOW + 5 * HOUR
    worker.close()
    consumer = log.consumer("last", [records.POINTS])
    last = consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0)[-1]
    assert abs(last.timestamp_ns - clock.at_ns) < 2 * SECOND
