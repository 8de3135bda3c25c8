"""What `dimwatch doctor` says of a Kafka cluster."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from benchmarks.ports import free_ports
from dimwatch.app.doctor_servers import kafka
from dimwatch.eventlog import open_eventlog
from dimwatch.settings import Settings
from tests.kafka_broker import Broker, kafka_broker

pytestmark = [pytest.mark.e2e, pytest.mark.kafka]
__all__ = ["kafka_broker"]


def settings(address: str, folder: Path, **more: object) -> Settings:
    own = {"bootstrap_servers": [address], "topic_prefix": f"{uuid.uuid4().hex[:8]}-", "partitions": 2, **more}
    return Settings.model_validate({"data": folder, "eventlog": {"backend": "kafka", "kafka": own}})


def told(settings: Settings) -> dict[str, list[str]]:
    """Details by verdict; every one that is not well has its remedy."""
    found: dict[str, list[str]] = {}
    for finding in kafka(settings):
        assert finding.remedy or finding.verdict == "ok"
        found.setdefault(finding.verdict, []).append(finding.detail)
    return found


def test_a_new_cluster_is_fit_and_one_broker_is_few(kafka_broker: Broker, tmp_path: Path) -> None:
    found = told(settings(kafka_broker.address, tmp_path))
    assert "fail" not in found
    assert any(detail.startswith("Kafka 4.") for detail in found["ok"])
    assert any("topics will be made at the start" in detail for detail in found["ok"])
    assert found["warn"] == ["what a broker's disk loses is lost"]


def test_topics_that_dimwatch_made_are_as_they_should_be(kafka_broker: Broker, tmp_path: Path) -> None:
    own = settings(kafka_broker.address, tmp_path)
    log = open_eventlog(own)
    log.consumer("worker", ["otlp_spans", "otlp_logs"]).lag()
    log.close()
    assert "2 topics are as they should be" in told(own)["ok"]


def test_another_number_of_partitions_is_told(kafka_broker: Broker, tmp_path: Path) -> None:
    own = settings(kafka_broker.address, tmp_path)
    name = f"{own.eventlog.kafka.topic_prefix}otlp_spans"
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.address)
    admin.create_topics({name: {"num_partitions": 5, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    assert told(own)["fail"] == [f"{name} has 5 partitions"]


def test_brokers_that_do_not_answer_are_told(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (detail,) = told(settings(f"127.0.0.1:{port}", tmp_path, delivery_timeout_s=1.0))["fail"]
    assert detail == f"unreachable: no Kafka broker answers at 127.0.0.1:{port}"
