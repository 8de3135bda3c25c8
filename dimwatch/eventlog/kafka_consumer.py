"""A member of a Kafka consumer group."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, errors
from kafka.structs import OffsetAndMetadata

from dimwatch.errors import InvalidError, PermanentError, RetryableError, TakenOverError
from dimwatch.eventlog.base import Batch, Lag, Offsets, Record, TopicPartition
from dimwatch.eventlog.kafka_assignor import CopartitionedAssignor
from dimwatch.eventlog.kafka_client import connection, explained, opened
from dimwatch.eventlog.kafka_fetch import Fetch
from dimwatch.eventlog.kafka_topics import Topics
from dimwatch.eventlog.kafka_transactions import Transactions
from dimwatch.settings import Kafka

_SLICE_S: Final = 0.2
"""The longest that close() waits for a poll in another thread."""
_MAX_POLL_S: Final = 120.0
"""A member that does not poll for so long loses its partitions: others wait for it while they are shared anew."""
_LEAVE_MS: Final = 3_000
"""How long close() waits for the brokers to know that this member goes."""
_LOOK_S: Final = 10.0
"""How long lag() and a reader wait for records that are there."""


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what was lost. It is called inside the client's poll, also for what comes back in the same poll."""

    def __init__(self) -> None:
        self.lost: set[Any] = set()

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        self.lost.update(revoked)

    def on_partitions_lost(self, lost: Collection[Any]) -> None:
        self.lost.update(lost)

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        pass


class KafkaMember:
    """A member of a group, or with `group` None a reader of its own."""

    def __init__(
        self,
        settings: Kafka,
        topics: Topics,
        group: str | None,
        partitions: Sequence[TopicPartition],
        *,
        closed: Callable[[KafkaMember], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._group = group
        self._partitions = list(dict.fromkeys(partitions))
        self._closed = closed
        self._names = {topics.on_broker(partition): partition for partition in self._partitions}
        self._lock = threading.RLock()  # only so that close() waits for a poll in another thread
        self._open = True
        self._client: KafkaConsumer | None = None
        self._fetch: Fetch | None = None
        self._transactions: Transactions | None = None
        self._rebalances = _Rebalances()
        self._joined = False
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._wanted: dict[TopicPartition, int] = {}
        """Where to begin, from seeks before the first poll."""

    def assignment(self) -> frozenset[TopicPartition]:
        """What this member reads now."""
        return self._assigned

    def drained(self) -> frozenset[TopicPartition]:
        """The part of the assignment of which everything was read."""
        with self._lock, explained("asking for the ends of topics"):
            fetch = self._started()
            ends = self._topics.ends(sorted(self._assigned))
            return frozenset(part for part, end in ends.items() if (fetch.position(part) or 0) >= end)

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records; see `dimwatch.eventlog.base.Consumer.poll`."""
        deadline = time.monotonic() + timeout_s
        with explained("reading"):
            if self._group is None:
                return self._read_to_the_end(max_records, max_bytes, deadline)
            while True:
                with self._lock:
                    records = self._poll(max_records, max_bytes, deadline)
                if records is not None:
                    return records

    def _poll(self, max_records: int, max_bytes: int, deadline: float) -> list[Record] | None:
        """One turn; None when there is time for another."""
        fetch = self._started()
        remaining = deadline - time.monotonic()
        fetch.fetch(min(_SLICE_S, max(remaining, 0.001)))
        if not self._rebalanced(fetch):
            return []
        fetch.complete(self._assigned)
        records = fetch.take(max_records, max_bytes)
        return records if records or time.monotonic() >= deadline else None

    def _read_to_the_end(self, max_records: int, max_bytes: int, deadline: float) -> list[Record]:
        """As poll(), but what is there when it is called comes, also with a time-out of 0."""
        patience = max(deadline, time.monotonic() + _LOOK_S)
        ends: dict[TopicPartition, int] = {}
        while True:
            with self._lock:
                fetch = self._started()
                ends = ends or self._topics.ends(self._partitions)
                fetch.fetch(0.05)
                fetch.complete(self._partitions)
                if records := fetch.take(max_records, max_bytes):
                    return records
                behind = [part for part, end in ends.items() if (fetch.position(part) or 0) < end]
            now = time.monotonic()
            if not behind and now >= deadline:
                return []
            if now >= patience:
                raise RetryableError(f"Kafka, reading: {behind[0]} did not come to its end in {_LOOK_S:g} s")

    def _rebalanced(self, fetch: Fetch) -> bool:
        """Take over what the client reads now. False when something was lost: the caller is to see that first."""
        assert self._client is not None
        lost = {self._names[part] for part in self._rebalances.lost}
        self._rebalances.lost.clear()
        fetch.forget(lost)
        if lost & self._assigned:
            self._assigned -= lost
            return False
        self._assigned = frozenset(self._names[part] for part in self._client.assignment())
        if wanted := {part: self._wanted.pop(part) for part in self._assigned & self._wanted.keys()}:
            fetch.seek(wanted)
        if self._assigned:
            self._joined = True
            self._wanted.clear()
        return True

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Commit `offsets` and append `outputs`, in one transaction where there are outputs."""
        self._check_known(offsets)
        with self._lock, explained("committing"):
            self._started()
            assert self._client is not None
            if self._group is None:
                raise PermanentError("a reader is in no group and commits nothing")
            membership = self._client.group_metadata()
            owned = self._check_owned(offsets, membership)
            if outputs and any(outputs.values()):
                self._topics.ensure(outputs)
                if self._transactions is None:
                    self._transactions = Transactions(self._settings, self._topics, self._group, self._noted)
                self._transactions.commit(offsets or self._unchanged(owned), outputs, membership)
            elif offsets:
                self._client.commit(
                    {self._topics.on_broker(part): OffsetAndMetadata(at, "", -1) for part, at in offsets.items()}
                )

    def _check_owned(self, offsets: Offsets, membership: Any) -> frozenset[TopicPartition]:
        """What only this side knows: brokers ask of which generation a member is, not what it reads in that.

        Returns what it reads.
        """
        assert self._client is not None
        if not self._joined:
            return self._assigned
        if membership.generation_id < 0 or not membership.member_id:
            raise TakenOverError(f"this member of group {self._group} was not heard of for too long: stop it")
        now = {self._names[part] for part in self._client.assignment()}
        lost = {self._names[part] for part in self._rebalances.lost}
        owned = self._assigned & now - lost
        if gone := offsets.keys() - owned:
            raise TakenOverError(
                f"another consumer of group {self._group} may have taken over {sorted(gone)}: stop this one"
            )
        return owned

    def _unchanged(self, owned: frozenset[TopicPartition]) -> Offsets:
        """An offset that commits nothing new, so that the brokers ask whether this is still a member."""
        for partition in sorted(owned):
            if (found := self._noted(partition)) is not None:
                return {partition: found[0]}
        if not owned and self._joined:
            raise TakenOverError(f"this member of group {self._group} reads nothing any more: stop it")
        return dict.fromkeys(sorted(owned)[:1], 0)

    def _noted(self, partition: TopicPartition, deadline: float | None = None) -> tuple[int, str] | None:
        """The group's committed offset, and what was noted beside it. Waits for transactions that are not over."""
        assert self._client is not None
        timeout_s = self._settings.request_timeout_s if deadline is None else max(0.001, deadline - time.monotonic())
        found = self._client.committed(
            self._topics.on_broker(partition), metadata=True, timeout_ms=int(timeout_s * 1000)
        )
        return None if found is None else (found.offset, found.metadata or "")

    def committed(self) -> Offsets:
        """The group's committed offsets."""
        if self._group is None:
            return {}
        with self._lock, explained("asking for committed offsets"):
            self._started()
            deadline = time.monotonic() + self._settings.request_timeout_s
            found = {partition: self._noted(partition, deadline) for partition in self._partitions}
        return {partition: noted[0] for partition, noted in found.items() if noted is not None}

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`."""
        self._check_known(offsets)
        with self._lock, explained("seeking"):
            if self._group is not None and not self._joined:
                self._wanted |= offsets
            else:
                self._started().seek({part: at for part, at in offsets.items() if part in self._assigned})

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind, by partition. For the times of a group, it reads records."""
        return {part: self._lag(part, start, end) for part, (start, end) in self._unread().items()}

    def behind(self) -> Mapping[TopicPartition, int]:
        """The records of lag(), from offsets alone."""
        return {part: max(0, end - start) for part, (start, end) in self._unread().items()}

    def ends(self) -> Offsets:
        """The offset after the newest record, by partition."""
        with explained("asking for the ends of topics"):
            self._topics.ensure({partition.topic for partition in self._partitions})
            return self._topics.ends(self._partitions)

    def _unread(self) -> dict[TopicPartition, tuple[int, int]]:
        """The offsets that the group has not committed: the first, and the one after the last."""
        committed = self.committed()
        with explained("asking for the ends of topics"):
            ends = self.ends()
            oldest = self._topics.oldest(self._partitions)
        return {part: (max(oldest[part], committed.get(part, 0)), ends[part]) for part in self._partitions}

    def _lag(self, partition: TopicPartition, start: int, end: int) -> Lag:
        if start >= end or self._group is None:
            return Lag(max(0, end - start), 0.0)
        reader = KafkaMember(self._settings, self._topics, None, [partition], closed=lambda _: None)
        try:
            reader.seek({partition: start})
            first = reader.poll(max_records=1, max_bytes=1, timeout_s=0.0)
            if not first:
                return Lag(0, 0.0)  # what is left are marks of transactions
            newest = first
            back = 1
            while len(newest := newest[-1:]) and newest == first and end - back > first[0].offset:
                reader.seek({partition: max(first[0].offset, end - back)})
                while more := reader.poll(max_records=1000, max_bytes=1 << 62, timeout_s=0.0):
                    newest = more
                back *= 4
        finally:
            reader.close()
        age_ns = newest[-1].timestamp_ns - first[0].timestamp_ns
        return Lag(end - first[0].offset, max(0, age_ns) / 1e9)

    def close(self) -> None:
        """Leave the group. Idempotent."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            if self._transactions is not None:
                self._transactions.close()
            if self._client is not None:
                with contextlib.suppress(errors.KafkaError):
                    self._client.close(autocommit=False, timeout_ms=_LEAVE_MS)
        self._closed(self)

    def _check_known(self, offsets: Offsets) -> None:
        known = self._names.values()
        for partition in offsets:
            if partition not in known:
                raise InvalidError(
                    f"{partition.topic}/{partition.partition} is not read by this consumer of group {self._group}"
                )

    def _started(self) -> Fetch:
        """The client, connected. A group is joined by its first poll."""
        if not self._open:
            raise PermanentError("the eventlog or its consumer is closed")
        if self._fetch is not None:
            return self._fetch
        self._topics.ensure({partition.topic for partition in self._partitions})
        settings = self._settings
        session_ms = int(settings.session_timeout_s * 1000)
        own = {
            "group_id": None if self._group is None else self._topics.name(self._group),
            "group_instance_id": None if self._group is None else settings.instance_id,
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": max(1, min(1_000, session_ms // 6)),
            "max_poll_interval_ms": max(session_ms, int(_MAX_POLL_S * 1000)),
            "partition_assignment_strategy": (CopartitionedAssignor,),
            "metrics_enabled": False,
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "fetch_max_wait_ms": 100,
            "max_partition_fetch_bytes": 8 * 1024 * 1024,
            "receive_message_max_bytes": 2 * int(settings.max_message) + 64 * 1024 * 1024,
        }
        client = opened(KafkaConsumer, connection(settings, self._group or "reader") | own)
        self._client = client
        self._fetch = Fetch(client, self._topics)
        if self._group is None:
            client.assign(list(self._names))
            client.seek_to_beginning()
            self._assigned = frozenset(self._partitions)
            self._joined = True
        else:
            names = sorted({part.topic for part in self._names})
            client.subscribe(topics=names, listener=self._rebalances)
            for name in names:
                client.partitions_for_topic(name)  # a member that joins without knowing them gets none at first
        return self._fetch
