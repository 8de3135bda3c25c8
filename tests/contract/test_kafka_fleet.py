"""Two fleet processes over one Kafka: one works, the other stands by and goes on where the first was."""

from __future__ import annotations

import time
import uuid
from itertools import islice

import pytest

from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.clock import ManualClock
from dimwatch.eventlog.base import EventLog, NewRecord, TopicPartition
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Kafka, Settings
from tests.kafka_broker import Broker
from tests.told_outage import DETECTION, START_NS, Told, told

pytestmark = pytest.mark.kafka
SETTINGS = Settings(detection=DETECTION)
MINUTES = 12


def hear(log: EventLog, clock: ManualClock, what: Told) -> None:
    clock.advance_to(what.watermark_ns)
    headers = {records.HEADER_SOURCE: "worker"}
    tables = {records.POINTS: what.points, records.SIGHTINGS: what.sightings}
    log.append({t: [NewRecord(records.encode(of), what.watermark_ns, headers=headers)] for t, of in tables.items()})


def windows(log: EventLog) -> list[dict[str, object]]:
    reader = log.reader([TopicPartition(records.WINDOWS)])
    found = []
    while batch := reader.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
        for record in batch:
            found += records.decode(record.value).to_pylist()
    reader.close()
    return found


def undisturbed() -> list[dict[str, object]]:
    log, clock = MemoryEventLog(), ManualClock(START_NS)
    stage = FleetStage(SETTINGS, log, clock)
    for what in islice(told(), MINUTES):
        hear(log, clock, what)
        stage.step(0.0)
    stage.close()
    return windows(log)


def test_the_one_that_stands_by_goes_on_with_the_last_state(kafka_broker: Broker) -> None:
    prefix = f"f{uuid.uuid4().hex[:8]}."
    kafka = Kafka(bootstrap_servers=[kafka_broker.address], topic_prefix=prefix, partitions=2, delivery_timeout_s=30.0)
    logs, clock = (KafkaEventLog(kafka), KafkaEventLog(kafka)), ManualClock(START_NS)
    try:
        first, second = (FleetStage(SETTINGS, log, clock) for log in logs)
        stages = [first, second]

        def read(count: int) -> None:
            deadline, got = time.monotonic() + 60.0, 0
            while got < count:
                assert time.monotonic() < deadline
                got += sum(stage.step(0.05) for stage in stages)

        for number, what in enumerate(islice(told(), MINUTES)):
            if number == MINUTES // 2:
                active, idle = (first, second) if first._active else (second, first)
                stages = [idle]
                active.close()
            hear(logs[0], clock, what)
            read(2)
        stages[0].close()
        assert windows(logs[0]) == undisturbed()
    finally:
        for log in logs:
            log.close()
