"""Offsets and outputs in one Kafka transaction."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import structlog
from kafka import KafkaProducer, errors
from kafka.structs import OffsetAndMetadata

from dimwatch.errors import DimwatchError, RetryableError, TakenOverError
from dimwatch.eventlog.base import Batch, Offsets, TopicPartition
from dimwatch.eventlog.kafka_client import bounded, explain, opened, producing
from dimwatch.eventlog.kafka_records import send
from dimwatch.eventlog.kafka_topics import Topics
from dimwatch.settings import Kafka

_UNKNOWN_S: Final = 600.0
"""How long a commit whose outcome is unknown waits for the brokers; then only a restart can tell."""
_SPARE_S: Final = 5.0

Noted = Callable[[TopicPartition], tuple[int, str] | None]
"""The group's committed offset on a partition, and what was noted beside it."""

_log = structlog.get_logger(__name__)


class Transactions:
    """The transactional producer of one consumer.

    Beside the offsets, each transaction notes a name of its own. When an answer is missing, the next producer of the
    same transactional id ends the transaction, and that name then tells which way.
    """

    def __init__(self, settings: Kafka, topics: Topics, group: str, noted: Noted) -> None:
        self._settings = settings
        self._topics = topics
        self._noted = noted
        # With a name that survives a restart, the next process ends what this one left open; without, time does.
        self._id = f"{topics.name(group)}-{settings.instance_id or uuid.uuid4().hex}"
        self._timeout_s = settings.delivery_timeout_s + _SPARE_S
        self._producer: KafkaProducer | None = None
        self._opening = threading.Lock()  # two producers of one transactional id would fence each other
        self._closed = False
        self._keyless = 0

    def commit(self, offsets: Offsets, outputs: Batch, membership: Any) -> None:
        """Commit `offsets` as the member that `membership` tells, and append `outputs`.

        Raises RetryableError when nothing was committed and it may be tried again, TakenOverError when another member
        has taken over or the outcome can not be told.
        """
        name = uuid.uuid4().hex
        gate = threading.Lock()
        committing = False
        abandoned = threading.Event()

        def transaction() -> None:
            nonlocal committing
            producer = self._open()
            with gate:
                if abandoned.is_set():  # the producer is the next attempt's now
                    return
            producer.begin_transaction()
            sent = [
                future
                for topic, records in outputs.items()
                for future in send(producer, self._topics, topic, records, self._keyless)
            ]
            producer.send_offsets_to_transaction(
                {self._topics.on_broker(part): OffsetAndMetadata(offset, name, -1) for part, offset in offsets.items()},
                membership,
            )
            for future in sent:
                future.get(timeout=self._timeout_s)
            with gate:
                if abandoned.is_set():  # whoever waited for this has gone on
                    return
                committing = True
            producer.commit_transaction()

        self._keyless += 1
        try:
            bounded(transaction, self._timeout_s)
        except (errors.KafkaError, OSError, TimeoutError) as error:
            with gate:
                abandoned.set()
            if not committing:
                self._discard(abort=not isinstance(error, TimeoutError))
                raise _explained(error) from error
            _log.warning("the outcome of a commit is unknown", error=str(error))
            self._discard(abort=False)
            if not self._was_committed(next(iter(offsets)), name):
                raise RetryableError(f"Kafka gave up a transaction ({error}): commit again") from error

    def _was_committed(self, partition: TopicPartition, name: str) -> bool:
        deadline = time.monotonic() + _UNKNOWN_S
        while True:
            try:
                bounded(self._open, self._timeout_s)  # the brokers end what the producer before left open
                found = self._noted(partition)
            except (errors.KafkaError, OSError, TimeoutError, RetryableError) as error:
                self._discard(abort=False)
                if time.monotonic() >= deadline:
                    raise TakenOverError(f"the outcome of a commit can not be told ({error}): restart") from error
                time.sleep(1.0)
            else:
                return found is not None and found[1] == name

    def _open(self) -> KafkaProducer:
        with self._opening:
            if self._producer is None:
                own = {"transactional_id": self._id, "transaction_timeout_ms": int(self._timeout_s * 1000)}
                producer = opened(KafkaProducer, producing(self._settings, "transactions") | own)
                try:
                    producer.init_transactions()
                    if self._closed:
                        raise errors.KafkaError("closed while connecting")
                except BaseException:
                    producer.close(timeout=0)
                    raise
                self._producer = producer
            return self._producer

    def _discard(self, *, abort: bool) -> None:
        """Give up the producer, after an error: the next one has a new epoch, which ends what this one left."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if abort:
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                bounded(producer.abort_transaction, self._timeout_s)
        with contextlib.suppress(errors.KafkaError, OSError):
            producer.close(timeout=0)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=self._timeout_s)


def _explained(error: Exception) -> DimwatchError:
    if isinstance(error, TimeoutError):
        return RetryableError(f"Kafka, committing: {error}")
    return explain(error, "committing")
