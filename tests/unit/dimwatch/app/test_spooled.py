"""After Kafka was away, the minutes of the outage wait for what collectors had to keep meanwhile."""

from __future__ import annotations

from dimwatch import records
from dimwatch.app.spooled import QUIET_NS, Spools
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings

SECOND = NS_PER_SECOND
NOW = 1_800_000_000 * SECOND
OUTAGE = 300 * SECOND
SETTINGS = Settings(eventlog={"backend": "kafka", "kafka": {"bootstrap_servers": ["127.0.0.1:1"]}})


class Site:
    """A worker that has judged everything until Kafka went away, for five minutes."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.clock, self.log = ManualClock(NOW), MemoryEventLog()
        self.worker = Worker(settings, self.log, self.clock)
        self.live(30)
        self.away_ns = self.clock.now_ns()
        self.clock.advance_to(self.away_ns + OUTAGE)

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance_to(self.clock.now_ns() + SECOND)
            self.worker.step(0.0)

    def receive(self, time_ns: int, **headers: str) -> None:
        self.log.append({records.OTLP_SPANS: [NewRecord(b"\x0a\xff", time_ns, headers=headers)]})

    def move(self, time_ns: int) -> None:
        self.receive(time_ns, **{records.HEADER_SPOOLED: "1"})

    @property
    def told_ns(self) -> int:
        consumer = self.log.consumer("told", [records.POINTS])
        found = consumer.poll(max_records=10_000, max_bytes=1 << 30, timeout_s=0.0)
        consumer.close()
        return max(record.timestamp_ns for record in found)


def test_the_clock_waits_for_the_first_record_of_a_spool_and_for_the_last() -> None:
    site = Site()
    site.live(5)
    assert site.told_ns <= site.away_ns, "nothing has come from a spool yet: it may be about to"
    for second in range(0, 300, 20):
        site.move(site.away_ns + second * SECOND)
        site.live(1)
        assert site.told_ns <= site.away_ns + second * SECOND
    site.live(40)
    assert site.clock.now_ns() - site.told_ns <= 12 * SECOND


def test_what_comes_newly_does_not_overtake_what_another_collector_had_to_keep() -> None:
    site = Site()
    for second in range(0, 300, 20):
        site.receive(site.clock.now_ns())  # of a collector that had kept nothing
        site.move(site.away_ns + second * SECOND)
        site.live(1)
        assert site.told_ns <= site.away_ns + second * SECOND
    site.live(40)
    assert site.clock.now_ns() - site.told_ns <= 12 * SECOND


def test_nobody_waits_where_there_is_no_spool_or_nothing_in_it() -> None:
    embedded = Site(Settings())
    embedded.live(2)
    assert embedded.told_ns >= embedded.away_ns + OUTAGE
    quiet = Site()
    quiet.live(QUIET_NS // SECOND + 2)
    assert quiet.told_ns >= quiet.away_ns + OUTAGE


def test_a_collector_that_was_cut_off_alone_holds_up_nobody() -> None:
    site = Site()
    site.live(30)
    for second in range(30):
        site.move(site.away_ns + second * SECOND)
        site.live(2)
    assert site.clock.now_ns() - site.told_ns <= 12 * SECOND


def test_what_was_kept_for_hours_is_waited_for_ten_minutes_and_then_ten_minutes_of_it() -> None:
    spools, hour = Spools(QUIET_NS), 3600 * SECOND
    assert spools.allow(NOW + hour, NOW, NOW + hour) == NOW
    for waited in range(10, 600, 10):
        spools.sent(NOW + SECOND, NOW + hour + waited * SECOND)
        now_ns = NOW + hour + waited * SECOND
        assert spools.allow(now_ns, NOW, now_ns) == NOW + SECOND
    now_ns = NOW + hour + 610 * SECOND
    spools.sent(NOW + SECOND, now_ns)
    assert spools.allow(now_ns, NOW, now_ns) == now_ns - 600 * SECOND
    assert spools.allow(NOW + 500 * SECOND, NOW, now_ns) == NOW + SECOND
    later_ns = now_ns + 2 * QUIET_NS
    assert spools.allow(later_ns, NOW, later_ns) == later_ns


def test_a_spool_of_a_moment_holds_up_nobody() -> None:
    site = Site()
    site.live(30)
    for _ in range(30):  # collectors that start send everything through it at first
        site.move(site.clock.now_ns())
        site.live(1)
    assert site.clock.now_ns() - site.told_ns <= 12 * SECOND
