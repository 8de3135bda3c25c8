"""The notifier process: incidents in; messages to people out, and a row of the ledger for every attempt.

What it knows (what is to be told, what was told, what is on its way) is written in the transaction that commits the
offsets it came from, before anything is sent. So a crash at any point loses nothing, and repeats a message at most with
the same idempotency key. docs/adr/0013 says more.
"""

from __future__ import annotations

import queue
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import stamina
import structlog

from detectors.notify.outbox import Message, Result
from detectors.notify.page import Page, incidents_of
from detectors.notify.pager import Pager
from dimwatch import records, telemetry
from dimwatch.app.sending.sender import Sender
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.app.wellness import Wellness
from dimwatch.clock import NS_PER_SECOND, Clock, SystemClock
from dimwatch.errors import InvalidError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.newest import newest
from dimwatch.settings import MIB, Settings

GROUP: Final = "notifier"
_SOURCE: Final = TopicPartition(records.INCIDENTS)
_POLL_RECORDS: Final = 256
_POLL_BYTES: Final = 16 * MIB
_POLL_S: Final = 0.25
_BUSY_POLL_S: Final = 0.01
"""While answers are awaited, which nobody else would notice."""
_MOST_AT_ONCE: Final = 16
"""Targets that are sent to at the same time; each gets one message at a time."""
_TRIM_NS: Final = 60 * NS_PER_SECOND
_KEPT_BYTES: Final = 64 * MIB
"""Of older states."""
_PATIENCE_S: Final = 60.0
"""For an eventlog that is locked or full; then this process starts anew."""

_log = structlog.get_logger()


class Sends(Protocol):
    """What attempts are made with: `dimwatch.app.sending.sender.Sender`."""

    def send(self, name: str, key: str, page: Page, now_ns: int) -> Result:
        """Make one attempt."""
        ...


class NotifierStage:
    """The notifier over one eventlog. Runs in one thread; attempts are made in others."""

    def __init__(self, settings: Settings, log: EventLog, clock: Clock, sender: Sends) -> None:
        self._notify = settings.notify
        self._log = log
        self._clock = clock
        self._sender = sender
        self._consumer = log.consumer(GROUP, [records.INCIDENTS])
        self._wellness = Wellness(log, settings.notify.heartbeat_lag_m) if settings.notify.heartbeat_targets else None
        self._pager: Pager | None = None
        """None while another process is at it."""
        self._next: dict[TopicPartition, int] = {}
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="send")
        self._results: queue.SimpleQueue[tuple[Pager, str, Result]] = queue.SimpleQueue()
        self._under_way = 0
        self._trimmed_ns = 0

    @property
    def pager(self) -> Pager | None:
        """What it knows; None while another process is at it."""
        return self._pager

    @property
    def active(self) -> bool:
        """Whether it is this process that tells people."""
        return self._pager is not None

    def step(self, timeout_s: float = _POLL_S) -> int:
        """Read, decide, write down, send; returns how many records were read."""
        batch = self._consumer.poll(max_records=_POLL_RECORDS, max_bytes=_POLL_BYTES, timeout_s=self._wait_s(timeout_s))
        pager = self._take_turns()
        if pager is None:
            return 0
        now_ns = self._clock.now_ns()
        self._hear(pager, batch, now_ns)
        self._answers(pager, now_ns)
        pager.look(now_ns, well=self._wellness is None or self._wellness.well(now_ns))
        due = pager.start(now_ns, _MOST_AT_ONCE)
        if batch or pager.changed:
            self._commit(pager, now_ns)
        for message in due:
            self._under_way += 1
            self._threads.submit(self._attempt, pager, message, now_ns)
        self._measure(pager)
        return len(batch)

    def close(self, timeout_s: float = 0.0) -> None:
        """Wait for what is on its way, at most so long, write it down, and leave the group."""
        deadline_ns = self._clock.now_ns() + int(timeout_s * NS_PER_SECOND)
        pager = self._pager
        while pager is not None and self._under_way and self._clock.now_ns() < deadline_ns:
            self._answers(pager, self._clock.now_ns(), wait_s=0.05)
        if pager is not None and pager.changed:
            self._commit(pager, self._clock.now_ns())
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._wellness is not None:
            self._wellness.close()
        self._consumer.close()

    def _take_turns(self) -> Pager | None:
        """Take over where another process left off, or let go of what another one has taken over."""
        if _SOURCE not in self._consumer.assignment():
            if self._pager is not None:
                _log.info("another notifier has taken over")
            self._pager, self._under_way = None, 0
            return None
        if self._pager is None:
            self._pager = self._restored()
            self._next = {}
        return self._pager

    def _restored(self) -> Pager:
        now_ns = self._clock.now_ns()
        pager = Pager(self._notify, now_ns)
        found = newest(self._log, records.NOTIFIER_CHECKPOINTS, 1, max_bytes=_POLL_BYTES)
        if found:
            try:
                pager.restore(found[-1].value, now_ns)
                _log.info("notifier restored", waiting=pager.waiting)
            except InvalidError as error:
                # Of an open incident people hear again when it next changes, however old it is.
                _log.error("the state is not used: what was told is not known any more", error=str(error))
                telemetry.DROPPED.labels(GROUP, records.NOTIFIER_CHECKPOINTS, "unreadable").inc()
                pager = Pager(self._notify, 0)
        return pager

    def _hear(self, pager: Pager, batch: Sequence[Record], now_ns: int) -> None:
        for record in batch:
            self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                for incident in incidents_of(records.decode(record.value)):
                    pager.hear(incident, now_ns)
            except (InvalidError, LookupError, TypeError, ValueError) as error:
                _log.error("record passed over", topic=record.topic, offset=record.offset, error=repr(error))
                telemetry.DROPPED.labels(GROUP, record.topic, "unreadable").inc()

    def _attempt(self, pager: Pager, message: Message, now_ns: int) -> None:
        try:
            result = self._sender.send(message.target, message.key, message.page, now_ns)
        except Exception as error:  # one message must not end all others
            # Without what it says: that may hold secrets.
            kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
            _log.error("an attempt failed by a fault of ours", target=message.target, error=kind, at=f"{place}")
            result = Result.said(f"a fault of Dimwatch: {kind}")
        self._results.put((pager, message.key, result))

    def _answers(self, pager: Pager, now_ns: int, wait_s: float = 0.0) -> None:
        while True:
            try:
                of, key, result = self._results.get(timeout=wait_s) if wait_s else self._results.get_nowait()
            except queue.Empty:
                return
            if of is not pager:
                continue  # of a time when it was this process's turn
            self._under_way -= 1
            message = pager.message(key)
            state = pager.finish(key, result, now_ns)
            telemetry.DELIVERIES.labels(message.target, message.event.value, state).inc()
            telemetry.DELIVERY_SECONDS.labels(message.target).observe(result.duration_ns / NS_PER_SECOND)
            told = {"target": message.target, "message": message.event.value, "attempt": message.attempts}
            if state == "delivered":
                _log.info("delivered", **told, after_s=round((now_ns - message.created_ns) / NS_PER_SECOND, 1))
            else:
                tell = _log.error if state == "given_up" else _log.warning
                tell("not delivered", **told, state=state, status=result.status, error=result.error)

    def _commit(self, pager: Pager, now_ns: int) -> None:
        rows = pager.ledger.take()
        for reason, count in pager.skipped.items():
            telemetry.PAGES_SKIPPED.labels(reason).inc(count)
            _log.info("nobody is told", reason=reason, incidents=count)
        pager.skipped.clear()
        outputs = {records.NOTIFIER_CHECKPOINTS: [NewRecord(pager.snapshot(), now_ns, key=b"0")]}
        if rows is not None:
            outputs[records.DELIVERIES] = [NewRecord(records.encode(rows), now_ns)]
        for attempt in stamina.retry_context(on=RetryableError, attempts=None, timeout=_PATIENCE_S):
            with attempt:
                self._consumer.commit(self._next, outputs)
        pager.changed = False
        if not 0 <= now_ns - self._trimmed_ns < _TRIM_NS:
            self._trimmed_ns = now_ns
            self._log.trim(records.NOTIFIER_CHECKPOINTS, keep_ns=_TRIM_NS, keep_bytes=_KEPT_BYTES, now_ns=now_ns)

    def _wait_s(self, timeout_s: float) -> float:
        if self._pager is None:
            return timeout_s
        if self._under_way:
            return min(_BUSY_POLL_S, timeout_s)
        next_ns = self._pager.next_ns()
        if next_ns is None:
            return timeout_s
        return max(min(timeout_s, (next_ns - self._clock.now_ns()) / NS_PER_SECOND), 0.0)

    def _measure(self, pager: Pager) -> None:
        telemetry.OUTBOX.set(pager.waiting)
        for target, circuit in pager.circuits.items():
            telemetry.CIRCUIT_OPEN.labels(target).set(circuit.broken)


def run(settings: Settings, health: Health) -> None:
    """Work until SIGTERM or SIGINT, then wait for what is on its way."""
    stop = Stop.by_signals()
    if not settings.notify.targets:
        _log.warning("nobody is told of incidents: notify.targets is empty")
    log = open_eventlog(settings)
    try:
        stage = NotifierStage(settings, log, SystemClock(), Sender(settings.notify))
        while not stop.requested:
            stage.step()
            health.beat()
        health.drain()
        stage.close(settings.notify.timeout_s)
    finally:
        log.close()
