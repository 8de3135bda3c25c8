"""Group commit: one thread writes; everything that waits shares one transaction and one fsync."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dimwatch.errors import BackpressureError, DimwatchError, InvalidError, PermanentError, RetryableError
from dimwatch.eventlog.reserve import Reserve

MAX_TRANSACTION_BYTES: Final = 16 * 1024 * 1024
"""Most bytes in one transaction (one larger job still passes): other processes wait no longer than that."""
_LOCK_RETRY_S: Final = 0.001

Work = Callable[[sqlite3.Connection], int]
"""What a job does inside the transaction; what it changed before it raises a DimwatchError is kept."""


class DiskFullError(BackpressureError):
    """The disk has no space for the write."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"no disk space for the eventlog ({reason}): free some", retry_after_s=5.0)


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    size_bytes: int
    urgent: bool
    done: threading.Event = field(default_factory=threading.Event)
    result: int = 0
    error: BaseException | None = None


class Writer:
    """Runs jobs in durable transactions, in the order in which they came."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        reserve: Reserve,
        *,
        lock_timeout_s: float,
        max_queue_bytes: int,
    ) -> None:
        self._connect = connect
        self._reserve = reserve
        self._lock_timeout_s = lock_timeout_s
        self._max_queue_bytes = max_queue_bytes
        self._queue: deque[_Job] = deque()
        self._queued_bytes = 0
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, work: Work, *, size_bytes: int = 0, urgent: bool = False) -> int:
        """Run `work` in a transaction and return its result once it is durable.

        `urgent` work is never refused for a full queue and may use the reserve of a full disk. Raises
        BackpressureError, RetryableError or PermanentError, or what `work` raises.
        """
        job = _Job(work, size_bytes, urgent)
        with self._wake:
            if self._closed:
                raise PermanentError("the eventlog is closed")
            over = self._queued_bytes + size_bytes > self._max_queue_bytes
            if self._queue and over and not urgent:
                raise BackpressureError(
                    f"the eventlog has {self._queued_bytes} bytes waiting for the disk", retry_after_s=1.0
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="eventlog-writer", daemon=True)
                self._thread.start()
            self._queue.append(job)
            self._queued_bytes += size_bytes
            self._wake.notify()
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """Finish what is queued, refuse what comes later. Idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while jobs := self._take():
            try:
                if connection is None:
                    connection = self._connect()
                    connection.execute("PRAGMA busy_timeout=0")  # _begin waits in its own way
                self._write(connection, jobs)
            except BaseException as error:
                # The thread must live and nobody may wait for ever: whatever it was, the callers get it.
                for job in jobs:
                    job.error = job.error or error
            for job in jobs:
                job.done.set()
        if connection is not None:
            connection.close()

    def _take(self) -> list[_Job]:
        """Wait for jobs and take all that fit in one transaction; none when closed and drained."""
        jobs: list[_Job] = []
        size = 0
        with self._wake:
            while not self._queue and not self._closed:
                self._wake.wait()
            while self._queue and (not jobs or size + self._queue[0].size_bytes <= MAX_TRANSACTION_BYTES):
                job = self._queue.popleft()
                size += job.size_bytes
                jobs.append(job)
            self._queued_bytes -= size
        return jobs

    def _write(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        try:
            self._transaction(connection, jobs)
        except sqlite3.Error as error:
            urgent = [job for job in jobs if job.urgent and _is_full(error)]
            for job in jobs:
                if job not in urgent:
                    job.error = job.error or explain(error)
            if urgent:
                self._reserve.release()
                try:
                    self._transaction(connection, urgent)
                except sqlite3.Error as second:
                    for job in urgent:
                        job.error = job.error or explain(second)

    def _transaction(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        self._begin(connection)
        try:
            for job in jobs:
                job.error = None
                try:
                    job.result = job.work(connection)
                except DimwatchError as error:
                    job.error = error
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some errors roll back by themselves
                connection.execute("ROLLBACK")
            raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        # SQLite's own busy handler sleeps up to 100 ms between attempts, and starves beside a busy process.
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(_LOCK_RETRY_S)


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; errors that Python's binding raises by itself count as SQLITE_ERROR."""
    code: int = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    return code & 0xFF


def _is_full(error: sqlite3.Error) -> bool:
    return error_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def explain(error: sqlite3.Error) -> DimwatchError:
    """The error of ours that tells the caller what to do about an error of SQLite."""
    code = error_code(error)
    if _is_full(error):
        return DiskFullError(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RetryableError(f"another process holds the eventlog's write lock ({error})")
    if code == sqlite3.SQLITE_TOOBIG:
        return InvalidError(f"a record is too big for the eventlog ({error})")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PermanentError(
            f"the eventlog's file is damaged ({error}): stop Dimwatch and move the file away; "
            "what it held and was not processed is lost"
        )
    return PermanentError(f"the eventlog's file can not be used ({error}): check that it is writable")
