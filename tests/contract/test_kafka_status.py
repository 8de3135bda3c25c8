"""What `dimwatch status` says of the lag of consumer groups on Kafka."""

from __future__ import annotations

import socket
import time
import uuid
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from benchmarks.ports import free_ports
from dimwatch import records
from dimwatch.app.status import look
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import RetryableError
from dimwatch.eventlog import kafka_inspect, open_eventlog
from dimwatch.eventlog.base import NewRecord, TopicPartition
from dimwatch.settings import Settings
from tests.kafka_broker import Broker

TARGET = {"name": "ops", "type": "webhook", "url": "https://pager.example/hook"}

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]


def settings(address: str, folder: Path, **more: object) -> Settings:
    own = {"bootstrap_servers": [address], "topic_prefix": f"{uuid.uuid4().hex[:8]}-", "partitions": 2, **more}
    eventlog = {"backend": "kafka", "kafka": own}
    return Settings.model_validate({"data": folder, "eventlog": eventlog, "notify": {"targets": [TARGET]}})


def test_every_group_is_behind_by_what_it_has_not_committed(kafka_broker: Broker, tmp_path: Path) -> None:
    own = settings(kafka_broker.address, tmp_path)
    log = open_eventlog(own)
    for number in range(8):
        at_ns = (1000 + number) * NS_PER_SECOND
        span = NewRecord(b"x", at_ns, partition=number % 2)
        log.append({records.OTLP_SPANS: [span], records.INCIDENTS: [NewRecord(b"x", at_ns)]})
    worker = log.consumer("worker", [records.OTLP_SPANS, records.OTLP_LOGS])
    while not worker.poll(max_records=8, max_bytes=1 << 20, timeout_s=5.0):
        pass
    worker.commit({TopicPartition(records.OTLP_SPANS, 0): 3, TopicPartition(records.OTLP_SPANS, 1): 1})
    worker.close()
    log.close()

    found = look(own)
    lags = {(lag.group, lag.topic): lag for lag in found.lags}
    assert lags["worker", records.OTLP_SPANS].records == 1 + 3
    assert lags["worker", records.OTLP_SPANS].seconds is None, "every partition would have to be read for it"
    assert lags["worker", records.OTLP_LOGS].records == 0
    assert lags["store", records.INCIDENTS].records == 8, "a group that never committed is behind by all"
    assert lags["notifier", records.INCIDENTS].records == 8
    assert ("fleet", records.POINTS) in lags
    assert not any("Kafka" in problem for problem in found.problems)


def test_marks_of_transactions_are_no_lag(kafka_broker: Broker, tmp_path: Path) -> None:
    own = settings(kafka_broker.address, tmp_path)
    log = open_eventlog(own)
    log.append({records.OTLP_SPANS: [NewRecord(b"x", NS_PER_SECOND, partition=0)]})
    worker = log.consumer("worker", [records.OTLP_SPANS])
    store = log.consumer("store", [records.SPANS])
    span = NewRecord(b"x", NS_PER_SECOND, partition=1)
    worker.commit({TopicPartition(records.OTLP_SPANS, 0): 1}, {records.SPANS: [span]})
    while not store.poll(max_records=8, max_bytes=1 << 20, timeout_s=5.0):
        pass
    store.commit({TopicPartition(records.SPANS, 1): 1})
    log.close()
    assert {(lag.group, lag.topic) for lag in look(own).lags if lag.records} == set()


def test_it_makes_no_topics(kafka_broker: Broker, tmp_path: Path) -> None:
    own = settings(kafka_broker.address, tmp_path)
    found = look(own)
    assert {lag.records for lag in found.lags} == {0}
    assert not any("Kafka" in problem for problem in found.problems), found.problems
    admin = KafkaAdminClient(bootstrap_servers=[kafka_broker.address])
    topics = admin.list_topics()
    admin.close()
    assert [topic for topic in topics if topic.startswith(own.eventlog.kafka.topic_prefix)] == []


def test_brokers_that_do_not_answer_are_a_problem(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    found = look(settings(f"127.0.0.1:{port}", tmp_path, delivery_timeout_s=1.0))
    assert found.lags == []
    assert any(f"127.0.0.1:{port}" in problem for problem in found.problems), found.problems


def test_brokers_that_say_nothing_are_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own = settings(f"127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        began = time.monotonic()
        with pytest.raises(RetryableError):
            kafka_inspect.lags(own.eventlog.kafka, {"store": [records.SPANS]}, timeout_s=2.0)
        assert time.monotonic() - began < own.eventlog.kafka.request_timeout_s
