"""A look at the eventlog on Kafka from outside: makes no topic, joins no group, and ends in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from kafka import KafkaConsumer

from dimwatch.eventlog.base import TopicPartition
from dimwatch.eventlog.inspect import GroupLag
from dimwatch.eventlog.kafka_client import bounded, connection, explained, opened
from dimwatch.eventlog.kafka_topics import Topics
from dimwatch.settings import Kafka

_FEW: Final = 10
"""Partitions with so few records left are looked into: they may be marks of transactions alone."""


def lags(settings: Kafka, groups: Mapping[str, Sequence[str]], *, timeout_s: float) -> list[GroupLag]:
    """The records that these groups have not committed, of the topics that they read. A missing topic has none.

    Their seconds are not told: every partition would have to be read for them. Raises RetryableError when the brokers
    do not answer in time, PermanentError when they refuse.
    """
    patience_s = timeout_s / 2  # so that a broker that does not answer is told as that
    hasty = settings.model_copy(
        update={
            "request_timeout_s": min(settings.request_timeout_s, patience_s),
            "delivery_timeout_s": min(settings.delivery_timeout_s, patience_s),
        }
    )
    with explained("asking for the lag of groups"):
        return bounded(lambda: _lags(hasty, groups, time.monotonic() + patience_s), timeout_s)


def _lags(settings: Kafka, groups: Mapping[str, Sequence[str]], look_until: float) -> list[GroupLag]:
    # What is opened is closed in this thread: whoever waits for it may be gone.
    with closing(Topics(settings)) as topics, closing(opened(KafkaConsumer, _reading(settings))) as client:
        there = topics.there({topic for read in groups.values() for topic in read})
        oldest, ends = topics.oldest(there), topics.ends(there)
        found = []
        for group, read in sorted(groups.items()):
            own = [part for part in there if part.topic in read]
            committed = topics.committed(group, own)
            starts = {part: max(oldest[part], committed.get(part, 0)) for part in own}
            few = {part: start for part, start in starts.items() if 0 < ends[part] - start <= _FEW}
            marks = _only_marks(client, topics, few, ends, look_until)
            records: Counter[str] = Counter()
            for part in starts.keys() - marks:
                records[part.topic] += max(0, ends[part] - starts[part])
            found += [GroupLag(group, topic, records[topic], None) for topic in sorted(read)]
        return found


def _only_marks(
    client: KafkaConsumer,
    topics: Topics,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    deadline: float,
) -> set[TopicPartition]:
    """Those that have no records from their start on: only marks of transactions."""
    waiting = {topics.on_broker(part): part for part in starts}
    client.assign(list(waiting))
    for on_broker, part in waiting.items():
        client.seek(on_broker, starts[part])
    marks = set()
    while waiting and time.monotonic() < deadline:
        for on_broker in client.poll(timeout_ms=100):
            waiting.pop(on_broker, None)
        for on_broker in [name for name, part in waiting.items() if client.position(name) >= ends[part]]:
            marks.add(waiting.pop(on_broker))
    return marks


def _reading(settings: Kafka) -> dict[str, Any]:
    return connection(settings, "status") | {
        "group_id": None,
        "metrics_enabled": False,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 100,
    }
