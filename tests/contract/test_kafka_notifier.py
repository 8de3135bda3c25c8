"""Two notifiers over one Kafka: one tells people, the other stands by and goes on where the first was lost."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from dimwatch import records
from dimwatch.app.notifier import GROUP, NotifierStage
from dimwatch.app.sending.sender import Sender
from dimwatch.clock import SystemClock
from dimwatch.errors import PermanentError
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.settings import Kafka, Settings
from dimwatch.targets import Notify
from tests.kafka_broker import Broker
from tests.told_incidents import incident, record
from tests.webhook_receiver import SECRET, Got, Receiver

pytestmark = pytest.mark.kafka
PATIENCE_S = 60.0


@pytest.fixture
def kafka(kafka_broker: Broker) -> Kafka:
    prefix = f"n{uuid.uuid4().hex[:8]}."
    return Kafka(bootstrap_servers=[kafka_broker.address], topic_prefix=prefix, partitions=2, delivery_timeout_s=30.0)


@pytest.fixture
def logs(kafka: Kafka) -> Iterator[tuple[KafkaEventLog, KafkaEventLog]]:
    two = KafkaEventLog(kafka), KafkaEventLog(kafka)
    yield two
    for log in two:
        log.close()


def lose(kafka: Kafka) -> None:
    """The group loses its only member, which does not know."""
    group = f"{kafka.topic_prefix}{GROUP}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        (member,) = admin.describe_groups([group])[group]["members"]
        admin.remove_group_members(group, [MemberToRemove(member_id=member["member_id"])])
    finally:
        admin.close()


def until(done: Callable[[], bool], stage: NotifierStage) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        stage.step(0.1)


def test_the_one_that_stands_by_goes_on_with_the_same_keys(
    kafka: Kafka, logs: tuple[KafkaEventLog, KafkaEventLog]
) -> None:
    reached, release = threading.Event(), threading.Event()

    def stall(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        receiver.keep(got)  # it has it, and nobody hears so
        reached.set()
        release.wait(30.0)

    with Receiver() as receiver:
        target = {"name": "hook", "type": "webhook", "url": receiver.url, "secrets": SECRET}
        notify = Notify.model_validate({"targets": [target], "allow_private": ["127.0.0.1"], "wait_s": 0})
        settings, clock = Settings(data=Path("unused"), notify=notify), SystemClock()
        first, second = (NotifierStage(settings, log, clock, Sender(notify)) for log in logs)

        def tell(id_: str) -> None:
            now_ns = clock.now_ns()
            logs[0].append({records.INCIDENTS: [record(incident(id_, now_ns), at_ns=now_ns)]})

        receiver.answer = receiver.accept
        tell("one")
        until(lambda: len(receiver.accepted) == 1, first)
        receiver.answer = stall
        tell("two")
        until(reached.is_set, first)
        lose(kafka)
        receiver.answer = receiver.accept
        tell("three")
        until(lambda: len(receiver.accepted) == 3 and second.pager is not None and not second.pager.waiting, second)
        release.set()
        told = [got.json["data"]["incidents"][0]["id"] for got in receiver.accepted.values()]
        assert sorted(told) == ["one", "three", "two"]
        with contextlib.suppress(PermanentError):  # or it notices by itself
            for _ in range(20):
                first.step(0.1)
                second.step(0.1)
        assert not (first.active and second.active)
        assert len(receiver.accepted) == 3, "nobody hears anything twice"
        second.close()
