"""A look at the embedded eventlog from outside: reads only, takes no lock, makes no file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dimwatch.errors import RetryableError
from dimwatch.eventlog import sqlite_tables as tables

_BUSY_S = 2.0


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How far a consumer group is behind on a topic."""

    group: str
    topic: str
    records: int
    seconds: float | None  # of record time, from the first that it has not committed to the newest; None: not known


def lags(path: Path) -> list[GroupLag]:
    """The lag of every consumer group on every topic that it reads; nothing when there is no eventlog yet.

    Raises RetryableError when the file can not be read.
    """
    if not path.exists():
        return []
    with _snapshot(path) as connection:
        pairs = connection.execute(
            "SELECT consumer_group, topic FROM positions ORDER BY consumer_group, topic"
        ).fetchall()
        return [_lag(connection, group, topic) for group, topic in pairs]


def newest_ns(path: Path) -> int | None:
    """Time of the newest record of all topics."""
    if not path.exists():
        return None
    with _snapshot(path) as connection:
        newest = [
            connection.execute(f"SELECT timestamp_ns FROM records_{topic_id} ORDER BY offset DESC LIMIT 1").fetchone()
            for (topic_id,) in connection.execute("SELECT id FROM topics").fetchall()
        ]
    return max((row[0] for row in newest if row), default=None)


def damages(path: Path, timeout_s: float) -> list[str] | None:
    """What SQLite's quick check finds wrong: nothing in a sound file; None if the time was not enough."""
    deadline = time.monotonic() + timeout_s
    try:
        with _snapshot(path) as connection:
            connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
            rows = connection.execute("PRAGMA quick_check(10)").fetchall()
    except RetryableError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError) and "interrupted" in str(error.__cause__):
            return None
        return [str(error)]
    return [row[0] for row in rows if row[0] != "ok"]


def _lag(connection: sqlite3.Connection, group: str, name: str) -> GroupLag:
    topic = tables.find_topic(connection, name)
    first = tables.oldest(connection, topic.id) if topic else None
    if topic is None or first is None:
        return GroupLag(group, name, 0, 0.0)
    start = max(first, tables.committed(connection, group, name) or 0)
    records = max(0, topic.next_offset - start)
    return GroupLag(group, name, records, tables.time_between(connection, topic.id, start))


@contextmanager
def _snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only view of one moment."""
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise RetryableError(f"can not read the eventlog {path}: {error}") from error
