"""Dead letters: told apart, put back once, and never lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dimwatch import records
from dimwatch.clock import ManualClock
from dimwatch.errors import RetryableError
from dimwatch.eventlog import letters as module
from dimwatch.eventlog.base import EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.letters import GROUP, Letter, dead_letter, letters, replay, summarised
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.eventlog.sqlite import SqliteEventLog

CLOCK = ManualClock(1_000)


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    made: EventLog = (
        MemoryEventLog(partitions=3)
        if request.param == "memory"
        else SqliteEventLog(tmp_path / "log.sqlite", max_bytes=1 << 30)
    )
    yield made
    made.close()


def record(topic: str, offset: int, value: bytes, partition: int = 0, **headers: str) -> Record:
    return Record(topic, partition, offset, 5, value, b"key", headers)


def put_aside(log: EventLog, *items: tuple[Record, str], stage: str = "sink", now_ns: int = 10) -> None:
    log.append({records.DEAD_LETTERS: [dead_letter(one, stage, reason, now_ns) for one, reason in items]})


def read(log: EventLog, topic: str) -> list[Record]:
    reader = log.reader([TopicPartition(topic, partition) for partition in range(log.partitions(topic))])
    found = reader.poll(max_records=10_000, max_bytes=1 << 30, timeout_s=0)
    reader.close()
    return found


def all_of(_letter: Letter) -> bool:
    return True


def test_letters_say_where_they_came_from_and_are_counted_by_reason(log: EventLog) -> None:
    put_aside(log, (record("spans", 7, b"abc", tenant="t"), "unreadable: columns are missing: rule"))
    put_aside(log, (record("spans", 9, b"de"), "unreadable: not an Arrow stream"), now_ns=30)
    put_aside(log, (record("otlp_spans", 1, b"x"), "truncated"), stage="worker", now_ns=20)
    first, *_ = letters(log)
    assert (first.origin, first.stage, first.kind) == (("spans", 0, 7), "sink", "unreadable")
    assert first.record.headers["tenant"] == "t"
    groups = [(g.reason, g.stage, g.topic, g.letters, g.bytes, g.first_ns, g.last_ns) for g in summarised(letters(log))]
    assert groups == [
        ("unreadable", "sink", "spans", 2, 5, 10, 30),
        ("truncated", "worker", "otlp_spans", 1, 1, 20, 20),
    ]


def test_a_letter_is_put_back_as_it_was_and_once(log: EventLog) -> None:
    put_aside(log, (record("otlp_spans", 7, b"abc", tenant="t"), "truncated"), (record("spans", 1, b"de"), "refused"))
    done = replay(log, CLOCK, lambda letter: letter.topic == "otlp_spans")
    assert (done.put_back, done.before, done.unknown) == (1, 0, 0)
    (back,) = read(log, "otlp_spans")
    assert (back.value, back.key, back.headers, back.timestamp_ns) == (b"abc", b"key", {"tenant": "t"}, 1_000)
    assert read(log, "spans") == []
    assert [letter.replayed for letter in letters(log)] == [True, False]

    done = replay(log, CLOCK, all_of)
    assert (done.put_back, done.before) == (1, 1)
    assert replay(log, CLOCK, all_of).put_back == 0
    assert [len(read(log, topic)) for topic in ("otlp_spans", "spans")] == [1, 1]
    assert sum(group.replayed for group in summarised(letters(log))) == 2


def test_a_record_that_was_put_aside_twice_comes_back_once(log: EventLog) -> None:
    """As a stage does that was killed before it could say that it had."""
    twice = (record("spans", 7, b"abc"), "refused")
    put_aside(log, twice, twice)
    done = replay(log, CLOCK, all_of)
    assert (done.put_back, done.before) == (1, 1)
    put_aside(log, twice)
    assert replay(log, CLOCK, all_of).put_back == 0
    assert len(read(log, "spans")) == 1


def test_what_fails_again_is_a_new_letter(log: EventLog) -> None:
    put_aside(log, (record("spans", 7, b"abc"), "refused"))
    replay(log, CLOCK, all_of)
    (again,) = read(log, "spans")
    log.append({records.DEAD_LETTERS: [dead_letter(again, "sink", "refused: still", 50)]})
    assert replay(log, CLOCK, all_of).put_back == 1
    assert len(read(log, "spans")) == 2


def test_a_letter_of_unknown_origin_is_counted_and_stays(log: EventLog) -> None:
    log.append({records.DEAD_LETTERS: [NewRecord(b"abc", 1, headers={"reason": "truncated"})]})
    done = replay(log, CLOCK, all_of)
    assert (done.put_back, done.unknown) == (0, 1)
    assert [letter.replayed for letter in letters(log)] == [False]


def test_many_letters_go_in_steps_and_an_error_in_between_repeats_none(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEP_RECORDS", 10)
    put_aside(log, *((record("spans", number, b"x"), "refused") for number in range(35)))
    asked = []

    def until_the_power_goes(letter: Letter) -> bool:
        asked.append(letter)
        if len(asked) > 25:
            raise RetryableError("gone")
        return True

    with pytest.raises(RetryableError):
        replay(log, CLOCK, until_the_power_goes)
    assert len(read(log, "spans")) == 20
    assert replay(log, CLOCK, all_of).put_back == 15
    assert len(read(log, "spans")) == 35


def test_letters_that_were_put_back_hold_no_retention_back(log: EventLog) -> None:
    put_aside(log, (record("spans", 7, b"abc"), "refused"))
    replay(log, CLOCK, all_of)
    assert log.trim(records.DEAD_LETTERS, keep_ns=1, keep_bytes=1 << 30, now_ns=10_000) == 2
    assert log.consumer(GROUP, [records.DEAD_LETTERS]).committed() == {}


def test_a_partition_is_kept() -> None:
    log = MemoryEventLog(partitions=3)
    put_aside(
        log, (record("otlp_spans", 7, b"abc", partition=2), "r"), (record("otlp_spans", 7, b"d", partition=9), "r")
    )
    replay(log, CLOCK, all_of)
    assert {found.value: found.partition for found in read(log, "otlp_spans")}[b"abc"] == 2
    assert len(read(log, "otlp_spans")) == 2, "a partition that is gone means any"


def test_letters_that_come_back_at_once_are_not_put_back_for_ever(log: EventLog) -> None:
    put_aside(log, *((record("otlp_spans", number, b"\xff"), "malformed") for number in range(10_000, 10_250)))
    known: set[int] = set()

    def chosen(letter: Letter) -> bool:
        """Meanwhile, a worker that is fast enough refuses all that was put back so far."""
        for back in read(log, "otlp_spans"):
            if back.offset not in known:
                known.add(back.offset)
                put_aside(log, (back, "malformed"), stage="worker")
        return True

    assert replay(log, CLOCK, chosen).put_back == 250
    assert sum(not letter.replayed for letter in letters(log)) == len(known)
