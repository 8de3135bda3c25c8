"""The eventlog on a real Kafka broker keeps the same contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from dimwatch.eventlog.base import Consumer, EventLog
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.eventlog.testing_shared import MANY, SharedEventLogContract
from dimwatch.settings import Kafka
from tests.kafka_broker import Broker

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_broker: Broker) -> Kafka:
    return Kafka(
        bootstrap_servers=[kafka_broker.address],
        topic_prefix=f"t{uuid.uuid4().hex[:8]}.",
        partitions=MANY,
        session_timeout_s=10.0,
        delivery_timeout_s=30.0,
    )


class TestKafka(SharedEventLogContract):
    @pytest.fixture
    def eventlog(self, settings: Kafka) -> Iterator[EventLog]:
        log = KafkaEventLog(settings)
        yield log
        log.close()

    @pytest.fixture
    def shared(self, eventlog: EventLog) -> EventLog:
        return eventlog

    @pytest.fixture
    def lose(self, settings: Kafka) -> Callable[[EventLog, Consumer], None]:
        def lose(log: EventLog, consumer: Consumer) -> None:
            group = f"{settings.topic_prefix}g"
            admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
            try:
                (member,) = admin.describe_groups([group])[group]["members"]
                admin.remove_group_members(group, [MemberToRemove(member_id=member["member_id"])])
            finally:
                admin.close()

        return lose

    @pytest.fixture
    def reopen(self, settings: Kafka) -> Callable[[EventLog], EventLog]:
        def reopen(log: EventLog) -> EventLog:
            log.close()
            return KafkaEventLog(settings)

        return reopen
