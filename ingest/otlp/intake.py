"""What both doors do with a request: decompress, decode, admit, mask, append. The answer comes after the append."""

from __future__ import annotations

import hmac
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import xxhash

from dimwatch import records, telemetry
from dimwatch.clock import Clock
from dimwatch.errors import DimwatchError
from dimwatch.eventlog.base import EventLog, NewRecord
from dimwatch.settings import MIB, Settings
from ingest.otlp.admission import Admitted, Limits, Reason, admit
from ingest.otlp.compression import decompress
from ingest.otlp.failures import Failure, failure_of
from ingest.otlp.gate import Gate, Hold
from ingest.otlp.json_codec import to_protobuf
from ingest.otlp.outline import PIECE_BYTES
from ingest.otlp.refusals import UnauthenticatedError
from ingest.otlp.signals import Signal
from ingest.redaction import Redactor

STAGE: Final = "receiver"
REQUESTS: Final = "requests"
"""The `signal` of drops that are whole requests: what was in them is not known."""

_MAX_REQUESTS: Final = 256
_JSON_SHARE: Final = 4
"""JSON takes several times the memory of protobuf, so it gets that part of the size."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was accepted, wholly or in part."""

    rejected: int
    message: str


class Intake:
    """The way from a request's bytes into the eventlog. Safe to share between threads."""

    def __init__(self, eventlog: EventLog, settings: Settings, clock: Clock) -> None:
        self._eventlog = eventlog
        self._receiver = settings.receiver
        self._clock = clock
        self._redactor = Redactor() if settings.redaction.enabled else None
        self._limit = int(settings.receiver.max_decompressed)
        self.gate = Gate(48 * MIB + int(settings.receiver.max_body) + 2 * self._limit, _MAX_REQUESTS)
        # One request is parsed at a time: the interpreter would not run two at once anyway, and so only one
        # of them is in memory as objects.
        self._parsing = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._refused_lock = threading.Lock()

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

    def take(self, body: bytes, signal: Signal, *, coding: str, json: bool, hold: Hold) -> Answer:
        """Store one request durably. Blocks; raises DimwatchError with what `failure_of` tells the sender."""
        limit = self._limit // _JSON_SHARE if json else self._limit
        content = decompress(body, coding, limit, hold.reserve)
        if len(content) > PIECE_BYTES:
            hold.reserve(len(content))
        now_ns = self._clock.now_ns()
        with self._parsing, telemetry.STAGE_SECONDS.labels("receive").time():
            if json:
                content = to_protobuf(content, signal)
            limits = Limits.of(self._receiver, now_ns)
            admitted = admit(content, signal, limits, self._redactor)
        self._append(admitted, signal, now_ns)
        size = sum(len(piece.body) for piece in admitted.pieces)
        telemetry.RECEIVED_ITEMS.labels(signal.name).inc(admitted.items)
        telemetry.RECEIVED_BYTES.labels(signal.name).inc(size)
        for (what, reason), count in admitted.dropped.items():
            telemetry.DROPPED.labels(STAGE, what, reason).inc(count)
        return Answer(admitted.rejected, admitted.explanation())

    def _append(self, admitted: Admitted, signal: Signal, now_ns: int) -> None:
        headers = {records.HEADER_TENANT: ""}
        batch = {}
        if admitted.pieces:
            batch[signal.topic] = [NewRecord(piece.body, now_ns, piece.key, headers) for piece in admitted.pieces]
        if admitted.dropped:
            # Ids come from what was sent: the same request sent again is the same drop.
            seed = admitted.digest.hexdigest()
            batch[records.DROPS] = [_drops(admitted.dropped, seed, now_ns)]
        if batch:
            self._eventlog.append(batch)

    def count(self, signal: Signal | None, transport: str, error: Exception | None) -> Failure | None:
        """Count the outcome of a request; return the failure if it is one."""
        failure = None if error is None else failure_of(error)
        name = "" if signal is None else signal.name
        code = "ok" if failure is None else failure.reason
        telemetry.RECEIVED_REQUESTS.labels(name, transport, code).inc()
        if failure is not None and failure.retry_after_s is None:
            telemetry.DROPPED.labels(STAGE, REQUESTS, failure.reason).inc()
            with self._refused_lock:
                self._refused[failure.reason] += 1
        return failure

    def report_refused(self) -> None:
        """Put the number of refused requests since the last call on the `drops` topic; to be called regularly."""
        with self._refused_lock:
            refused, self._refused = self._refused, Counter()
        if not refused:
            return
        now_ns = self._clock.now_ns()
        dropped = Counter({(REQUESTS, reason): count for reason, count in refused.items()})
        try:
            self._eventlog.append({records.DROPS: [_drops(dropped, f"{os.getpid()}-{now_ns}", now_ns)]})
        except DimwatchError:
            with self._refused_lock:
                self._refused.update(refused)  # the eventlog is full: tell it later


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
