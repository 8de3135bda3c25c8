"""What a collector keeps on its own disk while Kafka does not answer, and moves there when it does."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from dimwatch import telemetry
from dimwatch.errors import BackpressureError, DimwatchError, InvalidError, PermanentError, RetryableError
from dimwatch.eventlog.base import Batch, Consumer, NewRecord, Record, TopicPartition
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.records import HEADER_SPOOLED

_TOPIC: Final = "spool"
_GROUP: Final = "mover"
_FOR_TOPIC: Final = "spool-topic"
_FOR_PARTITION: Final = "spool-partition"
_BATCH_RECORDS: Final = 256
_BATCH_BYTES: Final = 8 * 1024 * 1024
_FEW: Final = 32
"""Records of which the moving takes so short that appends can wait for it."""
_POLL_S: Final = 0.2
_RETRY_S: Final = 1.0

_log = structlog.get_logger(__name__)


class SpooledEventLog:
    """An eventlog on Kafka whose appends go to a file while Kafka is away: an append returns when either has it.

    As long as something is in the file, everything goes through it, so that records keep their order. They are moved
    at least once: after a crash, some may be on Kafka twice. They keep the record time of their append, so that they
    count when they were received, and bear the header `dimwatch-spooled`, so that workers wait for the rest.
    """

    def __init__(self, log: KafkaEventLog, path: Path, *, max_bytes: int) -> None:
        self._log = log
        self._spool = SqliteEventLog(path, max_bytes=max_bytes)
        self._stop = threading.Event()
        self._behind = True  # until the mover has seen that nothing was left by the process before
        self._turn = threading.Condition()
        self._appending = 0
        """How many appends to the file are under way."""
        self._emptying = False
        """The mover takes the last out of the file: appends wait for a moment."""
        self._mover = threading.Thread(target=self._move, name="spool-mover", daemon=True)
        self._mover.start()

    def append(self, batch: Batch) -> None:
        """Append all records of `batch` to Kafka, or to the file; raises BackpressureError when that is full."""
        self._log.check(batch)
        failed = False
        while True:
            if not self._behind:
                try:
                    self._log.append(batch)
                except (RetryableError, PermanentError) as error:  # of the latter, a password that is being changed
                    if not self._behind:
                        _log.warning("Kafka does not answer: requests go to the spool", error=str(error))
                    failed = True
                else:
                    return
            with self._turn:
                self._turn.wait_for(lambda: not self._emptying)
                if failed or self._behind:
                    self._behind = True
                    self._appending += 1
                    break
        try:
            self._spool.append({_TOPIC: [_packed(topic, record) for topic, found in batch.items() for record in found]})
        except BackpressureError as error:
            raise BackpressureError(
                f"Kafka does not answer and the spool can take no more (eventlog.kafka.spool): {error}",
                retry_after_s=error.retry_after_s,
            ) from error
        finally:
            with self._turn:
                self._appending -= 1
                self._turn.notify_all()

    def _move(self) -> None:
        consumer = self._spool.consumer(_GROUP, [_TOPIC])
        said = ""
        while not self._stop.is_set():
            try:
                self._move_batch(consumer)
                said = ""
            except Exception as error:  # whatever it is: without this thread nothing would leave the spool any more
                if not said and not self._stop.is_set():
                    said = str(error) if isinstance(error, DimwatchError) else repr(error)
                    _log.warning("the spool waits for Kafka", error=said)
                self._stop.wait(_RETRY_S)

    def _move_batch(self, consumer: Consumer) -> None:
        if self._move_some(consumer, _POLL_S) <= _FEW and self._behind:
            self._log.probe()
            self._move_last(consumer)

    def _move_last(self, consumer: Consumer) -> None:
        """Appends wait for it: else the file would never be empty under steady traffic, or others would pass them."""
        with self._turn:
            self._emptying = True
            self._turn.wait_for(lambda: not self._appending)
        try:
            while self._move_some(consumer, 0.0):
                pass
            self._spool.trim(_TOPIC, keep_ns=-(1 << 62), keep_bytes=1 << 62, now_ns=0)
            telemetry.SPOOL_RECORDS.set(0)
            self._behind = False
        finally:
            with self._turn:
                self._emptying = False
                self._turn.notify_all()
        _log.info("the spool is empty: requests go to Kafka")

    def _move_some(self, consumer: Consumer, timeout_s: float) -> int:
        """Move a batch, and return how many records were left then."""
        records = consumer.poll(max_records=_BATCH_RECORDS, max_bytes=_BATCH_BYTES, timeout_s=timeout_s)
        if not records:
            return 0
        self._behind = True
        try:
            waiting = consumer.lag()[TopicPartition(_TOPIC)].records
            telemetry.SPOOL_RECORDS.set(waiting)
            self._deliver(records)
            consumer.commit({TopicPartition(_TOPIC): records[-1].offset + 1})
        except BaseException:
            consumer.seek({TopicPartition(_TOPIC): records[0].offset})
            raise
        return waiting - len(records)

    def _deliver(self, records: Sequence[Record]) -> None:
        batch: dict[str, list[NewRecord]] = {}
        for record in records:
            topic, unpacked = _unpacked(record)
            batch.setdefault(topic, []).append(unpacked)
        try:
            self._log.append(batch)
        except InvalidError as error:
            # Checked before it was spooled: the brokers' own limits have changed since.
            for topic, found in batch.items():
                telemetry.DROPPED.labels(stage="eventlog", signal=topic, reason="refused_by_kafka").inc(len(found))
            _log.error("Kafka refuses records of the spool for good: they are dropped", error=str(error))

    def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """A consumer on Kafka."""
        return self._log.consumer(group, topics)

    def reader(self, partitions: Sequence[TopicPartition]) -> Consumer:
        """A reader on Kafka."""
        return self._log.reader(partitions)

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return self._log.partitions(topic)

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Nothing: the brokers do it."""
        return self._log.trim(topic, keep_ns=keep_ns, keep_bytes=keep_bytes, now_ns=now_ns)

    def close(self) -> None:
        """Stop moving; what is in the file is moved when it is opened again. Idempotent."""
        self._stop.set()
        self._mover.join()
        self._spool.close()
        self._log.close()


def _packed(topic: str, record: NewRecord) -> NewRecord:
    headers = {**record.headers, _FOR_TOPIC: topic}
    if record.partition is not None:
        headers[_FOR_PARTITION] = str(record.partition)
    return NewRecord(record.value, record.timestamp_ns, record.key, headers)


def _unpacked(record: Record) -> tuple[str, NewRecord]:
    headers = {**record.headers, HEADER_SPOOLED: "1"}
    topic = headers.pop(_FOR_TOPIC)
    partition = headers.pop(_FOR_PARTITION, None)
    number = None if partition is None else int(partition)
    return topic, NewRecord(record.value, record.timestamp_ns, record.key, headers, number)
