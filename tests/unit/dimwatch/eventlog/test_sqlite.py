"""The SQLite eventlog in trouble: locks, full disks, damage, other processes."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from dimwatch.errors import BackpressureError, PermanentError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import TopicPartition
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.eventlog.testing import DEADLINE_S, after, block, fill, new, read, read_rest, values
from dimwatch.settings import Settings

GIB = 1024**3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eventlog" / "eventlog.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteEventLog]:
    log = SqliteEventLog(path, max_bytes=GIB, lock_timeout_s=0.05)
    yield log
    log.close()


@pytest.fixture
def stranger(log: SqliteEventLog) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the same file."""
    connection = sqlite3.connect(log.path, isolation_level=None)
    yield connection
    connection.close()


def test_the_settings_say_where_the_log_is(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    log = open_eventlog(settings)
    log.append({"t": [new(b"1")]})
    log.close()
    assert settings.eventlog_path.stat().st_size > 0
    assert settings.eventlog_path.parent.stat().st_mode & 0o077 == 0, "others can read what people said"


def test_an_append_of_another_process_wakes_a_consumer(log: SqliteEventLog) -> None:
    other = SqliteEventLog(log.path, max_bytes=GIB)
    consumer = log.consumer("g", ["t"])
    assert consumer.poll(max_records=1, max_bytes=1, timeout_s=0) == []
    appended: list[float] = []

    def append() -> None:
        other.append({"t": [new(b"1")]})
        appended.append(time.monotonic())

    def took_s() -> float:
        appender = threading.Timer(0.1, append)
        appender.start()
        assert len(consumer.poll(max_records=1, max_bytes=1, timeout_s=DEADLINE_S)) == 1
        arrived = time.monotonic()
        appender.join()
        return arrived - appended[-1]

    assert any(took_s() < 1.0 for _ in range(5)), "polls every 20 ms; the rest is a busy machine"
    other.close()


def test_a_locked_log_asks_to_try_again(log: SqliteEventLog, stranger: sqlite3.Connection) -> None:
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(RetryableError, match="lock") as refusal:
        log.append({"t": [new(b"1")]})
    assert not isinstance(refusal.value, BackpressureError)
    stranger.execute("ROLLBACK")
    log.append({"t": [new(b"1")]})
    assert values(read_rest(log.consumer("g", ["t"]))) == [b"1"]


def test_the_queue_for_the_disk_is_bounded(path: Path) -> None:
    log = SqliteEventLog(path, max_bytes=GIB, lock_timeout_s=DEADLINE_S, max_queue_bytes=4 * 128 * 1024)
    log.append({"t": [new(b"first")]})
    accepted: list[bytes] = []
    refusals: list[BackpressureError] = []

    def append(number: int) -> None:
        value = block(number)
        try:
            log.append({"t": [new(value)]})
            accepted.append(value)
        except BackpressureError as error:
            refusals.append(error)

    threads = [threading.Thread(target=append, args=[n]) for n in range(20)]
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while not refusals and time.monotonic() < deadline:
        time.sleep(0.01)
    stranger.close()
    for thread in threads:
        thread.join()
    assert len(refusals) >= 1
    assert len(accepted) >= 3
    assert len(refusals) + len(accepted) == 20
    assert sorted(values(read_rest(log.consumer("g", ["t"])))[1:]) == sorted(accepted)
    log.close()


def test_a_full_disk_loses_nothing_and_is_left_by_trimming(log: SqliteEventLog) -> None:
    log.append({"t": [new(b"first")]})
    consumer = log.consumer("g", ["t"])
    records = read(consumer, 1)

    def fill_the_disk(connection: sqlite3.Connection) -> int:
        # What SQLite answers then is what it answers when the disk has no space.
        pages = connection.execute("PRAGMA page_count").fetchone()[0] + 100
        connection.execute(f"PRAGMA max_page_count={pages}")
        return 0

    log._writer.submit(fill_the_disk)
    accepted = fill(log, "t")
    assert len(accepted) > 5
    records += read(consumer, len(accepted))
    assert values(records)[1:] == accepted
    consumer.commit(after(records))
    assert log.trim("t", keep_ns=0, keep_bytes=GIB, now_ns=10**18) == len(records)
    assert len(fill(log, "t")) > 5


def test_the_reserve_serves_commits_before_appends(log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append({"t": [new(b"1")]})
    consumer = log.consumer("g", ["t"])
    records = read(consumer, 1)
    reserve = log.path.with_name("eventlog.sqlite-reserve")
    assert reserve.stat().st_blocks * 512 > 1_000_000, "real blocks, or the disk can not give them back"
    reserve.unlink()

    def no_space(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", no_space)
        with pytest.raises(BackpressureError, match="no disk space"):
            log.append({"t": [new(b"2")]})
        consumer.commit(after(records))
        assert log.trim("t", keep_ns=0, keep_bytes=GIB, now_ns=1) == 1
    log.append({"t": [new(b"2")]})
    assert reserve.exists()
    assert values(read(consumer, 1)) == [b"2"]


def test_a_full_log_says_who_is_behind(path: Path) -> None:
    log = SqliteEventLog(path, max_bytes=1024 * 1024)
    log.consumer("slow", ["t"]).poll(max_records=1, max_bytes=1, timeout_s=0)
    accepted = fill(log, "t")
    with pytest.raises(BackpressureError, match=f"group slow is {len(accepted)} records behind on t"):
        log.append({"t": [new(block(0))]})
    log.close()


def test_a_changed_record_is_skipped_and_counted(path: Path) -> None:
    corrupt: list[tuple[TopicPartition, int]] = []
    log = SqliteEventLog(path, max_bytes=GIB, on_corrupt=lambda *found: corrupt.append(found))
    log.append({"t": [new(b"%d" % n * 1000, n) for n in range(6)]})
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("UPDATE records_1 SET value = zeroblob(10) WHERE offset = 1")
    stranger.execute("UPDATE records_1 SET value = CAST(x'ff' AS TEXT) WHERE offset = 2")
    stranger.execute("UPDATE records_1 SET timestamp_ns = 'now' WHERE offset = 4")
    stranger.close()
    labels = {"stage": "eventlog", "signal": "t", "reason": "corrupt_record"}
    before = REGISTRY.get_sample_value("dimwatch_dropped_total", labels) or 0.0
    consumer = log.consumer("g", ["t"])
    records = read(consumer, 3, max_records=2)
    assert [record.offset for record in records] == [0, 3, 5]
    assert read_rest(consumer) == []
    assert corrupt == [(TopicPartition("t"), offset) for offset in (1, 2, 4)]
    assert REGISTRY.get_sample_value("dimwatch_dropped_total", labels) == before + 3
    log.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_costs_only_what_was_on_the_damaged_pages(path: Path, seed: int) -> None:
    page = 16384
    appended = [block(n)[: 500 + 7919 * n % 40_000] for n in range(300)]
    log = SqliteEventLog(path, max_bytes=GIB)
    for value in appended:
        log.append({"t": [new(value)]})
    log.close()
    chance = random.Random(seed)
    with path.open("r+b") as file:
        # Not the first pages: they hold the tables of topics and groups, without which there is no log.
        for number in chance.sample(range(12, path.stat().st_size // page), 3):
            file.seek(number * page + chance.choice([0, 0, chance.randrange(page)]))
            file.write(chance.randbytes(64))
    corrupt: list[int] = []
    log = SqliteEventLog(path, max_bytes=GIB, on_corrupt=lambda _, offset: corrupt.append(offset))
    consumer = log.consumer("g", ["t"])
    records: list[tuple[int, bytes]] = []
    while len(records) + len(corrupt) < len(appended):
        found = consumer.poll(max_records=50, max_bytes=GIB, timeout_s=1.0)
        records += [(record.offset, record.value) for record in found]
    assert all(value == appended[offset] for offset, value in records)
    assert sorted([*corrupt, *(offset for offset, _ in records)]) == list(range(len(appended)))
    assert len(corrupt) < 100
    log.append({"t": [new(b"goes on")]})
    assert values(read(consumer, 1)) == [b"goes on"]
    log.close()


def test_a_torn_tail_is_what_was_never_acknowledged(path: Path, tmp_path: Path) -> None:
    log = SqliteEventLog(path, max_bytes=GIB)
    log.append({"t": [new(b"acknowledged")]})
    acknowledged = path.with_name(path.name + "-wal").stat().st_size
    log.append({"t": [new(block(1))]})
    wal = path.with_name(path.name + "-wal").read_bytes()
    for length in (acknowledged, acknowledged + 100, len(wal) // 2, len(wal) - 1):
        torn = tmp_path / f"torn{length}.sqlite"
        torn.write_bytes(path.read_bytes())
        torn.with_name(torn.name + "-wal").write_bytes(wal[:length])
        recovered = SqliteEventLog(torn, max_bytes=GIB)
        assert values(read_rest(recovered.consumer("g", ["t"]))) == [b"acknowledged"]
        recovered.append({"t": [new(b"goes on")]})
        recovered.close()
    log.close()


def test_a_file_that_is_no_eventlog_is_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a database" * 1000)
    with pytest.raises(PermanentError, match="damaged"):
        SqliteEventLog(garbage, max_bytes=GIB)
    other = tmp_path / "other"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(PermanentError, match="other SQLite database"):
        SqliteEventLog(other, max_bytes=GIB)


def test_a_newer_format_is_refused(log: SqliteEventLog, stranger: sqlite3.Connection) -> None:
    stranger.execute("PRAGMA user_version=2")
    with pytest.raises(PermanentError, match="upgrade"):
        SqliteEventLog(log.path, max_bytes=GIB)


def test_text_is_compressed_and_arrow_is_not(log: SqliteEventLog, stranger: sqlite3.Connection) -> None:
    text, arrow = b"the same words over and over " * 1000, b"\xff\xff\xff\xff" + bytes(10_000)
    log.append({"t": [new(text), new(arrow)]})
    sizes = stranger.execute("SELECT length(value) FROM records_1 ORDER BY offset").fetchall()
    assert sizes[0][0] < len(text) / 20
    assert sizes[1][0] == len(arrow)
    assert values(read_rest(log.consumer("g", ["t"]))) == [text, arrow]


def test_retention_lets_others_write_meanwhile(path: Path) -> None:
    log = SqliteEventLog(path, max_bytes=GIB)
    for _ in range(10):
        log.append({"t": [new(b"x") for _ in range(2000)]})
    other = SqliteEventLog(log.path, max_bytes=GIB)
    took_s: list[float] = []
    trimmer = threading.Thread(target=log.trim, args=["t"], kwargs={"keep_ns": 0, "keep_bytes": 0, "now_ns": 1})
    trimmer.start()
    while trimmer.is_alive():
        started = time.monotonic()
        other.append({"u": [new(b"y")]})
        took_s.append(time.monotonic() - started)
    trimmer.join()
    assert len(took_s) > 5
    assert sorted(took_s)[-2] < 1.0, "the slowest may be a machine that stalls"
    assert read_rest(log.consumer("g", ["t"])) == []
    other.close()
    log.close()
