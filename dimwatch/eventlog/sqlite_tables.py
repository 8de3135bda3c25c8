"""The tables of the SQLite eventlog and the statements on them, run inside the caller's transaction.

Each topic has a table of its own, keyed by offset: appends always go to the right edge of its B-tree, a read
is a range scan, and the blob comes last so that the other columns are read without it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dimwatch.errors import PermanentError
from dimwatch.eventlog.rows import COLUMNS, SQL_STORED_BYTES, Encoded, Row
from dimwatch.eventlog.writer import error_code, explain

_APPLICATION_ID: Final = 0x44494D57  # "DIMW"
_FORMAT: Final = 1
PAGE_BYTES: Final = 16384
CHECKPOINT_BYTES: Final = 16 * 1024 * 1024
"""How much the WAL grows before it is copied into the file; see `RESERVE_BYTES`."""
_CACHE_KIB: Final = 16 * 1024
_OPEN_TIMEOUT_S: Final = 10.0

CHUNK_RECORDS: Final = 512
CHUNK_BYTES: Final = 32 * 1024 * 1024
"""Most that one transaction removes: others wait a few milliseconds for it."""


class Topic(NamedTuple):
    """One row of the table of topics: `stored_bytes` of the records kept, and the next record's offset."""

    id: int
    next_offset: int
    stored_bytes: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, make it if it is new. Raises PermanentError for a file that is not an eventlog."""
    deadline = time.monotonic() + _OPEN_TIMEOUT_S
    while True:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, timeout=_OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            _prepare(connection)
            return connection
        except (sqlite3.Error, PermanentError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, PermanentError):
                raise
            # Two processes that make the file at the same moment: SQLite does not wait in that case.
            if error_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise explain(error) from error
        time.sleep(0.01)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.text_factory = _text
    new = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    if not new and _pragma(connection, "application_id") != _APPLICATION_ID:
        raise PermanentError("the eventlog's file is some other SQLite database: choose another folder")
    for pragma in (
        f"page_size={PAGE_BYTES}",  # a new file only
        "journal_mode=WAL",
        "synchronous=FULL",
        "fullfsync=ON",  # where fsync alone does not reach the disk (macOS)
        f"wal_autocheckpoint={CHECKPOINT_BYTES // PAGE_BYTES}",
        f"journal_size_limit={2 * CHECKPOINT_BYTES}",
        f"cache_size=-{_CACHE_KIB}",
        "secure_delete=OFF",  # overwriting what is removed would double the cost of retention
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if new:
        connection.execute("BEGIN IMMEDIATE")
        if _pragma(connection, "user_version") == 0:  # no other process was faster
            _create(connection)
        connection.execute("COMMIT")
    if (found := _pragma(connection, "user_version")) != _FORMAT:
        raise PermanentError(f"the eventlog has format {found}, this Dimwatch reads {_FORMAT}: upgrade Dimwatch")


def _text(stored: bytes) -> str:
    # Damage can turn a blob into text that is not UTF-8; the checksum finds it.
    return stored.decode("utf-8", "replace")


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
        " next_offset INTEGER NOT NULL, stored_bytes INTEGER NOT NULL)"
    )
    # `member` is the consumer that joined last, the only one that may commit. Until it does next_offset is NULL.
    connection.execute(
        "CREATE TABLE positions (consumer_group TEXT NOT NULL, topic TEXT NOT NULL, next_offset INTEGER,"
        " member INTEGER NOT NULL, PRIMARY KEY (consumer_group, topic)) WITHOUT ROWID"
    )
    connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={_FORMAT}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection, of any process, commits."""
    return _pragma(connection, "data_version")


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return pages * _pragma(connection, "page_size")


def free_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold nothing: they are used again before the file grows."""
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


# topics


def find_topic(connection: sqlite3.Connection, name: str) -> Topic | None:
    """The topic, if anything was ever appended to it."""
    row = connection.execute("SELECT id, next_offset, stored_bytes FROM topics WHERE name = ?", (name,)).fetchone()
    return Topic(*row) if row else None


def append(connection: sqlite3.Connection, encoded: Encoded) -> None:
    """Add rows at the end of their topics."""
    for name, rows in encoded:
        _append(connection, name, rows)


def _append(connection: sqlite3.Connection, name: str, rows: Sequence[Row]) -> None:
    topic = find_topic(connection, name)
    if topic is None:
        cursor = connection.execute("INSERT INTO topics (name, next_offset, stored_bytes) VALUES (?, 0, 0)", (name,))
        topic = Topic(cursor.lastrowid or 0, 0, 0)
        connection.execute(
            f"CREATE TABLE records_{topic.id} (offset INTEGER PRIMARY KEY, timestamp_ns INTEGER NOT NULL,"
            " key BLOB NOT NULL, headers BLOB NOT NULL, codec INTEGER NOT NULL, size INTEGER NOT NULL,"
            " checksum BLOB NOT NULL, value BLOB NOT NULL)"
        )
    connection.executemany(
        f"INSERT INTO records_{topic.id} (offset, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(offset, *row) for offset, row in enumerate(rows, topic.next_offset)],
    )
    connection.execute(
        "UPDATE topics SET next_offset = ?, stored_bytes = stored_bytes + ? WHERE id = ?",
        (topic.next_offset + len(rows), sum(row.stored_bytes for row in rows), topic.id),
    )


def scan(connection: sqlite3.Connection, topic_id: int, start: int, limit: int) -> sqlite3.Cursor:
    """Rows of (offset, *COLUMNS) from `start` on."""
    return connection.execute(
        f"SELECT offset, {COLUMNS} FROM records_{topic_id} WHERE offset >= ? ORDER BY offset LIMIT ?",
        (start, limit),
    )


def read_one(connection: sqlite3.Connection, topic_id: int, offset: int) -> Row | None:
    """One record's columns."""
    found = connection.execute(f"SELECT {COLUMNS} FROM records_{topic_id} WHERE offset = ?", (offset,)).fetchone()
    return Row(*found) if found else None


def oldest(connection: sqlite3.Connection, topic_id: int) -> int | None:
    """Offset of the oldest record kept."""
    found: int | None = connection.execute(f"SELECT min(offset) FROM records_{topic_id}").fetchone()[0]
    return found


def time_between(connection: sqlite3.Connection, topic_id: int, start: int) -> float:
    """Seconds of record time from the record at or after `start` to the newest."""
    table = f"records_{topic_id}"
    first, last = connection.execute(
        f"SELECT (SELECT timestamp_ns FROM {table} WHERE offset >= ? ORDER BY offset LIMIT 1),"
        f" (SELECT timestamp_ns FROM {table} ORDER BY offset DESC LIMIT 1)",
        (start,),
    ).fetchone()
    return 0.0 if first is None else max(0, last - first) / 1e9


# retention


def remove_oldest(
    connection: sqlite3.Connection, name: str, *, older_than_ns: int, keep_bytes: int, before: int | None
) -> int:
    """Remove one chunk of the oldest records; return how many.

    A record goes when the topic holds more than `keep_bytes`, or when it is from before `older_than_ns` and its
    offset is under `before` (if given).
    """
    topic = find_topic(connection, name)
    if topic is None:
        return 0
    removed = freed = 0
    cut = -1
    rows = connection.execute(
        f"SELECT offset, timestamp_ns, {SQL_STORED_BYTES} FROM records_{topic.id} ORDER BY offset LIMIT ?",
        (CHUNK_RECORDS,),
    )
    for offset, timestamp_ns, stored_bytes in rows:
        too_old = timestamp_ns < older_than_ns and (before is None or offset < before)
        if not too_old and topic.stored_bytes - freed <= keep_bytes:
            break
        cut = offset
        removed += 1
        freed += stored_bytes
        if freed >= CHUNK_BYTES:
            break
    rows.close()
    if removed:
        connection.execute(f"DELETE FROM records_{topic.id} WHERE offset <= ?", (cut,))
        connection.execute("UPDATE topics SET stored_bytes = stored_bytes - ? WHERE id = ?", (freed, topic.id))
    return removed


_FOREVER: Final = 2**63 - 1
_MAX_CHUNKS: Final = 4


def remove_read(connection: sqlite3.Connection, enough: Callable[[], bool]) -> bool:
    """Remove the oldest records that all groups have committed until there is room `enough`; True if there is.

    The newest record of a topic stays, and so does everything in a topic that no group reads. One call removes
    a few chunks at most.
    """
    if enough():
        return True
    read = connection.execute(
        "SELECT topics.name, min(min(coalesce(positions.next_offset, 0)), topics.next_offset - 1)"
        " FROM topics JOIN positions ON positions.topic = topics.name GROUP BY topics.id"
        " ORDER BY topics.stored_bytes DESC"
    ).fetchall()
    chunks = 0
    for name, before in read:
        while chunks < _MAX_CHUNKS and remove_oldest(
            connection, name, older_than_ns=_FOREVER, keep_bytes=_FOREVER, before=before
        ):
            chunks += 1
            if enough():
                return True
    return False


# groups


def join(connection: sqlite3.Connection, group: str, topic: str, member: int) -> None:
    """Make `member` the one that may commit for the group on the topic."""
    connection.execute(
        "INSERT INTO positions (consumer_group, topic, member) VALUES (?, ?, ?)"
        " ON CONFLICT (consumer_group, topic) DO UPDATE SET member = excluded.member",
        (group, topic, member),
    )


def leave(connection: sqlite3.Connection, group: str, member: int) -> None:
    """Forget the group on topics where it never committed: there it holds no records back any more."""
    connection.execute(
        "DELETE FROM positions WHERE consumer_group = ? AND member = ? AND next_offset IS NULL", (group, member)
    )


def newest_member(connection: sqlite3.Connection, group: str, topic: str) -> int | None:
    """The member that joined last; None if there never was one."""
    found = connection.execute(
        "SELECT member FROM positions WHERE consumer_group = ? AND topic = ?", (group, topic)
    ).fetchone()
    return found[0] if found else None


def commit(connection: sqlite3.Connection, group: str, topic: str, next_offset: int) -> None:
    """Make `next_offset` the group's on the topic."""
    connection.execute(
        "INSERT INTO positions (consumer_group, topic, next_offset, member) VALUES (?, ?, ?, 0)"
        " ON CONFLICT (consumer_group, topic) DO UPDATE SET next_offset = excluded.next_offset",
        (group, topic, next_offset),
    )


def committed(connection: sqlite3.Connection, group: str, topic: str) -> int | None:
    """The group's committed offset on the topic."""
    found = connection.execute(
        "SELECT next_offset FROM positions WHERE consumer_group = ? AND topic = ?", (group, topic)
    ).fetchone()
    return found[0] if found else None


def read_by_all(connection: sqlite3.Connection, topic: str) -> int | None:
    """The lowest committed offset of the topic's groups, 0 if one never committed; None without groups."""
    found: int | None = connection.execute(
        "SELECT min(coalesce(next_offset, 0)) FROM positions WHERE topic = ?", (topic,)
    ).fetchone()[0]
    return found


def slowest(connection: sqlite3.Connection) -> tuple[str, str, int] | None:
    """Group, topic and number of records of whoever is furthest behind."""
    found: tuple[str, str, int] | None = connection.execute(
        "SELECT positions.consumer_group, topics.name, topics.next_offset - coalesce(positions.next_offset, 0)"
        " FROM topics JOIN positions ON positions.topic = topics.name ORDER BY 3 DESC LIMIT 1"
    ).fetchone()
    return found
