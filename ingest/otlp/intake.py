"""What both doors do with a request: decompress, decode, admit, mask, append. The answer comes after the append."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
import xxhash

from dimwatch import records, telemetry
from dimwatch.clock import Clock
from dimwatch.errors import BackpressureError, DimwatchError
from dimwatch.eventlog.base import EventLog, NewRecord
from dimwatch.settings import MIB, Settings
from ingest.otlp.admission import Limits, Reason, admit
from ingest.otlp.commits import Commits, Prepared, together
from ingest.otlp.compression import decompress
from ingest.otlp.failures import Failure, failure_of
from ingest.otlp.gate import Gate, Hold
from ingest.otlp.json_codec import to_protobuf
from ingest.otlp.refusals import TooLargeError, UnauthenticatedError
from ingest.otlp.signals import METRICS, Signal
from ingest.otlp.spread import spread
from ingest.redaction import Redactor

STAGE: Final = "receiver"
REQUESTS: Final = "requests"
"""The `signal` of drops that are whole requests: what was in them is not known."""

_MAX_REQUESTS: Final = 256
_IN_FLIGHT_BYTES: Final = 128 * MIB
_SMALL_BYTES: Final = 4 * MIB
_MAX_LARGE: Final = 16
_JSON_SHARE: Final = 4
"""JSON takes several times the memory of protobuf, so it gets that part of the size."""
_METRICS_SHARE: Final = 16
"""Metrics are kept for whoever will read them; as long as nobody does, they get that part of the eventlog."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was accepted, wholly or in part."""

    rejected: int
    message: str


class Intake:
    """The way from a request's bytes into the eventlog.

    There are two lanes, so that memory stays bounded and nobody starves: ordinary requests are appended together with
    those that are ready at the same time; those of more than 4 MiB go one after the other.
    """

    def __init__(self, eventlog: EventLog, settings: Settings, clock: Clock) -> None:
        self._eventlog = eventlog
        self._receiver = settings.receiver
        self._keep_metrics_ns = int(settings.eventlog.keep_hours * 3600e9)
        self._keep_metrics_bytes = int(settings.eventlog.max_bytes) // _METRICS_SHARE
        self._clock = clock
        self._redactor = Redactor() if settings.redaction.enabled else None
        self._limit = int(settings.receiver.max_decompressed)
        self.gate = Gate(max(_IN_FLIGHT_BYTES, 2 * int(settings.receiver.max_body)), _MAX_REQUESTS)
        # One thread a lane: the interpreter would not run two at once anyway, so that only one request a lane is in
        # memory as objects, and the memory allocator does not keep a heap for each of many threads.
        self._small = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="intake-large")
        self._commits = Commits(self._append)
        self._in_large = 0
        self._dropped: Counter[str] = Counter()
        """Whole requests by reason, since the last report."""
        self._dropped_lock = threading.Lock()

    def authenticate(self, authorization: str) -> None:
        """Check the Authorization header. Raises UnauthenticatedError."""
        token = self._receiver.token
        if token is None:
            return
        wanted = f"Bearer {token.get_secret_value()}".encode()
        scheme, _, given = authorization.partition(" ")
        if not hmac.compare_digest(f"{scheme.capitalize()} {given.strip()}".encode(), wanted):
            raise UnauthenticatedError(
                "a valid token is needed: send the header 'Authorization: Bearer <receiver.token>'"
            )

    async def take(self, body: bytes, signal: Signal, *, coding: str, json: bool, hold: Hold) -> Answer:
        """Store one request durably. Raises DimwatchError with what `failure_of` tells the sender."""
        loop = asyncio.get_running_loop()
        limit = self._limit // _JSON_SHARE if json else self._limit
        small = min(limit, _SMALL_BYTES)
        answer: asyncio.Future[Answer | None] = loop.create_future()

        def settle(found: Answer | None, error: Exception | None) -> None:
            if answer.done():  # nobody waits any more
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def tell(found: Answer | None, error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # at the end of the process the loop may be closed
                loop.call_soon_threadsafe(settle, found, error)

        def prepare_if_small() -> None:
            try:
                try:
                    content = decompress(body, coding, small, hold.reserve)
                except TooLargeError:
                    if small == limit:
                        raise
                    tell(None, None)
                    return
                prepared = self._prepare(content, signal, json)
            except Exception as error:
                tell(None, error)
                return
            self._commits.submit(prepared, lambda error: tell(_answer(prepared), error))

        def store_large() -> Answer:
            return self.store(decompress(body, coding, limit), signal, json=json)

        if len(body) <= small:
            # One way from thread to thread and back: each turn by the loop would cost as much as a small request.
            self._small.submit(prepare_if_small)
            found = await answer
            if found is not None:
                return found
        if self._in_large >= _MAX_LARGE:
            raise BackpressureError(f"{_MAX_LARGE} requests of more than {_SMALL_BYTES} bytes are waiting")
        self._in_large += 1
        try:
            return await loop.run_in_executor(self._large, store_large)
        finally:
            self._in_large -= 1

    def store(self, content: bytes, signal: Signal, *, json: bool) -> Answer:
        """Store one decompressed request durably. Blocks; raises DimwatchError."""
        prepared = self._prepare(content, signal, json)
        self._append([prepared])
        return _answer(prepared)

    def _prepare(self, content: bytes, signal: Signal, json: bool) -> Prepared:
        now_ns = self._clock.now_ns()
        with telemetry.STAGE_SECONDS.labels("receive").time():
            if json:
                content = to_protobuf(content, signal)
            admitted = admit(content, signal, Limits.of(self._receiver, now_ns), self._redactor)
            admitted.pieces = spread(admitted.pieces, signal, self._eventlog.partitions(signal.topic))
        return Prepared(signal, now_ns, admitted)

    def _append(self, group: Sequence[Prepared]) -> None:
        batch = together(group)
        for prepared in group:
            if prepared.admitted.dropped:
                # Ids come from what was sent: the same request sent again is the same drop.
                seed = prepared.admitted.digest.hexdigest()
                drops = _drops(prepared.admitted.dropped, seed, prepared.now_ns)
                batch.setdefault(records.DROPS, []).append(drops)
        if batch:
            self._eventlog.append(batch)
        for prepared in group:
            name, admitted = prepared.signal.name, prepared.admitted
            telemetry.RECEIVED_ITEMS.labels(name).inc(admitted.items)
            telemetry.RECEIVED_BYTES.labels(name).inc(prepared.size)
            for (what, reason), count in admitted.dropped.items():
                telemetry.DROPPED.labels(STAGE, what, reason).inc(count)

    def close(self) -> None:
        """Wait for what is in flight, and report what was dropped."""
        self._small.shutdown()
        self._large.shutdown()
        self._commits.close()
        self.tidy()

    def count(self, signal: Signal | None, transport: str, error: Exception | None) -> Failure | None:
        """Count the outcome of a request; return the failure if it is one."""
        failure = None if error is None else failure_of(error)
        name = "" if signal is None else signal.name
        code = "ok" if failure is None else failure.reason
        telemetry.RECEIVED_REQUESTS.labels(name, transport, code).inc()
        if error is not None and failure is not None and failure.http != 500:
            _let_go(error)
        if failure is not None and failure.retry_after_s is None:
            self._drop(failure.reason)
        return failure

    def _drop(self, reason: str, count: int = 1) -> None:
        telemetry.DROPPED.labels(STAGE, REQUESTS, reason).inc(count)
        with self._dropped_lock:
            self._dropped[reason] += count

    def tidy(self) -> None:
        """Keep unread metrics within their bounds, and put the requests that were dropped since the last call on the
        `drops` topic; to be called regularly."""
        try:
            # A full log gives up what everybody has read, so that metrics, which nobody reads, would fill it for good.
            now_ns = self._clock.now_ns()
            keep_ns, keep_bytes = self._keep_metrics_ns, self._keep_metrics_bytes
            removed = self._eventlog.trim(METRICS.topic, keep_ns=keep_ns, keep_bytes=keep_bytes, now_ns=now_ns)
            if removed:
                self._drop("metrics_not_read", removed)
            self._report(now_ns)
        except DimwatchError as error:
            _log.warning("drops are told later", error=str(error))

    def _report(self, now_ns: int) -> None:
        with self._dropped_lock:
            dropped, self._dropped = self._dropped, Counter()
        if not dropped:
            return
        counts = Counter({(REQUESTS, reason): count for reason, count in dropped.items()})
        try:
            self._eventlog.append({records.DROPS: [_drops(counts, f"{os.getpid()}-{now_ns}", now_ns)]})
        except DimwatchError:
            with self._dropped_lock:
                self._dropped.update(dropped)
            raise


def _answer(prepared: Prepared) -> Answer:
    return Answer(prepared.admitted.rejected, prepared.admitted.explanation())


def _let_go(error: BaseException) -> None:
    """Drop the tracebacks of a refusal: their frames hold the request, and servers keep errors for a while."""
    linked: BaseException | None = error
    while linked is not None:
        linked.__traceback__ = None
        linked = linked.__cause__ or linked.__context__


def _drops(dropped: Mapping[Reason, int], seed: str, now_ns: int) -> NewRecord:
    rows: Iterable[dict[str, object]] = (
        {
            "id": xxhash.xxh3_128_hexdigest(f"{seed} {what} {reason}".encode()),
            "time": now_ns,
            "tenant": "",
            "stage": STAGE,
            "signal": what,
            "reason": reason,
            "count": count,
            "version": now_ns,
        }
        for (what, reason), count in dropped.items()
    )
    value = records.encode(records.table_from_rows(records.DROP, rows))
    return NewRecord(value, now_ns, headers={records.HEADER_TENANT: ""})
