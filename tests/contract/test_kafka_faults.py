"""What Kafka's eventlog does when members, brokers and retention are not as one would wish."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from structlog.testing import capture_logs

from dimwatch import telemetry
from dimwatch.errors import BackpressureError, InvalidError, PermanentError, RetryableError
from dimwatch.eventlog import kafka_client, open_eventlog
from dimwatch.eventlog.base import Consumer, NewRecord, TopicPartition
from dimwatch.eventlog.kafka import KafkaEventLog
from dimwatch.eventlog.newest import newest
from dimwatch.eventlog.testing import after, fill, new, read, read_rest, until, values
from dimwatch.eventlog.testing_shared import MANY, SINGLE, SPREAD, Group
from dimwatch.settings import Settings
from tests.certificates import certificate
from tests.kafka_broker import Broker, running

pytestmark = pytest.mark.kafka

Make = Callable[..., KafkaEventLog]


@pytest.fixture
def make(kafka_broker: Broker) -> Iterator[Make]:
    """Opens eventlogs on the same topics of their own; the arguments are settings of Kafka."""
    prefix = f"f{uuid.uuid4().hex[:8]}."
    with contextlib.ExitStack() as opened:

        def make(**settings: Any) -> KafkaEventLog:
            log = KafkaEventLog(kafka(kafka_broker, topic_prefix=prefix, **settings).eventlog.kafka)
            opened.callback(log.close)
            return log

        yield make


def kafka(broker: Broker, data: Path = Path(), **settings: Any) -> Settings:
    patient = {"session_timeout_s": 20.0, "delivery_timeout_s": 30.0}
    common = {"bootstrap_servers": [broker.address], "partitions": MANY} | patient
    return Settings(data=data, eventlog={"backend": "kafka", "kafka": common | settings})


def numbered(count: int) -> list[NewRecord]:
    return [NewRecord(b"%d" % n, n, partition=n % MANY) for n in range(count)]


def test_a_process_that_was_frozen_too_long_commits_nothing(kafka_broker: Broker, make: Make) -> None:
    log = make()
    log.append({SPREAD: numbered(8)})
    prefix = log._settings.topic_prefix
    script = Path(__file__).parents[1] / "e2e" / "eventlog" / "kafka_member.py"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), kafka_broker.address, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as frozen:
        assert frozen.stdin is not None
        assert frozen.stderr is not None
        try:
            assert frozen.stderr.readline() == "read\n"
            os.kill(frozen.pid, signal.SIGSTOP)
            other = log.consumer("g", [SPREAD])
            records = read(other, 8)  # after its session
            os.kill(frozen.pid, signal.SIGCONT)
            frozen.stdin.write("commit\n")
            frozen.stdin.flush()
            assert frozen.stderr.readline() == "refused for good\n"
        finally:
            frozen.kill()
    other.commit(after(records), {SINGLE: [new(b"once")]})
    assert values(read_rest(log.consumer("h", [SINGLE]))) == [b"before", b"once"]


def test_a_static_member_that_restarts_gets_its_partitions_back_at_once(make: Make) -> None:
    group = Group(make(), [SPREAD])
    group.members = [make(instance_id=name).consumer("group", [SPREAD]) for name in ("one", "two")]
    group.read = {member: [] for member in group.members}
    group.settle()
    one, two = group.members
    before = one.assignment(), two.assignment()
    one.close()
    back = group.members[0] = make(instance_id="one").consumer("group", [SPREAD])
    group.read[back] = []
    of_two = set()

    def is_back() -> bool:
        of_two.add(two.assignment())
        return back.assignment() == before[0]

    group.poll_until(is_back)
    assert of_two == {before[1]}


def test_the_newest_records_are_found_behind_marks_of_transactions(make: Make) -> None:
    log = make()
    log.append({"in": [new(b"%d" % n) for n in range(6)]})
    consumer = log.consumer("g", ["in"])
    for record in read(consumer, 6):
        consumer.commit(after([record]), {"out": [new(record.value)]})
    assert values(newest(log, "out", 1, max_bytes=1 << 20)) == [b"5"]
    assert values(newest(log, "out", 3, max_bytes=1 << 20)) == [b"3", b"4", b"5"]
    reader = log.consumer("h", ["out"])
    reader.commit(after(read(reader, 6)))
    assert reader.lag()[TopicPartition("out")].records == 0


def test_the_newest_records_are_found_where_the_oldest_offsets_have_none(kafka_broker: Broker, make: Make) -> None:
    log = make()
    log._topics.ensure(["t"])
    # A transaction that came to nothing leaves offsets without records, as compaction does.
    producer = KafkaProducer(bootstrap_servers=[kafka_broker.address], transactional_id=log._topics.name("gone"))
    try:
        producer.init_transactions()
        producer.begin_transaction()
        for n in range(50):
            producer.send(log._topics.name("t"), b"%d" % n)
        producer.flush()
        producer.abort_transaction()
    finally:
        producer.close()
    log.append({"t": [new(b"%d" % n) for n in range(10)]})
    with capture_logs() as logged:
        assert values(newest(log, "t", 3, max_bytes=1 << 20)) == [b"7", b"8", b"9"]
    assert logged == [], "nothing was removed unread"


def test_records_that_retention_removed_unread_are_counted(kafka_broker: Broker, make: Make) -> None:
    log = make()
    log.append({"t": [new(b"%d" % n) for n in range(10)]})
    first = log.consumer("g", ["t"])
    first.commit(after(read(first, 10)[:2]))
    first.close()
    admin = KafkaAdminClient(bootstrap_servers=[kafka_broker.address])
    admin.delete_records({KafkaPartition(log._topics.name("t"), 0): 7})
    admin.close()
    dropped = telemetry.DROPPED.labels(stage="eventlog", signal="t", reason="retention")
    before = dropped._value.get()
    assert values(read(log.consumer("g", ["t"]), 3)) == [b"7", b"8", b"9"]
    assert dropped._value.get() - before == 5


def test_topics_with_another_number_of_partitions_are_refused(make: Make) -> None:
    make().append({SPREAD: numbered(1)})
    with pytest.raises(PermanentError, match=r"has 4 partitions and should have 6: set eventlog\.kafka\.partitions"):
        make(partitions=6).append({SPREAD: numbered(1)})


def test_a_record_of_megabytes_passes_and_one_over_the_limit_is_refused(make: Make) -> None:
    log = make(max_message=8 << 20)
    large = os.urandom(8 << 20)
    log.append({"t": [new(large)]})
    consumer = log.consumer("g", ["t"])
    assert values(read(consumer, 1)) == [large]
    consumer.commit({TopicPartition("t"): 1}, {"out": [new(large)]})
    with pytest.raises(InvalidError, match="max_message"):
        log.append({"t": [new(large + b"1")]})


def test_a_commit_is_tried_again_after_a_late_request_of_its_own_has_fenced_it(
    kafka_broker: Broker, make: Make
) -> None:
    log = make()
    log.append({"in": [new(b"1"), new(b"2")]})
    consumer = log.consumer("g", ["in"])
    first, second = read(consumer, 2)
    consumer.commit(after([first]), {"out": [new(first.value)]})
    assert consumer._transactions is not None
    late = KafkaProducer(bootstrap_servers=[kafka_broker.address], transactional_id=consumer._transactions._id)
    try:
        late.init_transactions()
    finally:
        late.close()
    with pytest.raises(RetryableError, match="ProducerFenced"):
        consumer.commit(after([second]), {"out": [new(second.value)]})
    consumer.commit(after([second]), {"out": [new(second.value)]})
    assert values(read_rest(log.consumer("h", ["out"]))) == [b"1", b"2"]


class Copier(threading.Thread):
    """Reads `in` and writes each record to `out` by the commit that says it is done."""

    def __init__(self, consumer: Consumer, count: int) -> None:
        super().__init__(daemon=True)
        self._consumer = consumer
        self._left = count

    def run(self) -> None:
        while self._left:
            try:
                records = self._consumer.poll(max_records=5, max_bytes=1 << 20, timeout_s=0.2)
            except RetryableError:
                continue
            while records:
                try:
                    outputs = {"out": [new(record.value) for record in records]}
                    self._consumer.commit(after(records), outputs)
                except RetryableError:
                    time.sleep(0.1)
                else:
                    break
            self._left -= len(records)


def test_a_broker_that_dies_and_comes_back_costs_no_record_and_doubles_none(
    kafka_broker: Broker, make: Make, tmp_path: Path
) -> None:
    count = 400
    log = make()
    log.append({"in": [new(b"%d" % n) for n in range(count)]})
    copier = Copier(make(delivery_timeout_s=2.0, session_timeout_s=60.0).consumer("copier", ["in"]), count)
    prefix = f"f{uuid.uuid4().hex[:8]}."
    spooled = open_eventlog(kafka(kafka_broker, tmp_path, topic_prefix=prefix, delivery_timeout_s=5.0), spool=True)
    bare = make(delivery_timeout_s=2.0)
    until(lambda: taken(bare, b"before"))
    started = telemetry.SPOOL_RECORDS
    try:
        spooled.append({SPREAD: numbered(20)})
        until(lambda: not spooled._behind)  # type: ignore[attr-defined]
        copier.start()
        until(lambda: read_count(log, "out") > 20)
        kafka_broker.kill()
        try:
            for record in numbered(60)[20:40]:
                spooled.append({SPREAD: [record]})
            with pytest.raises(BackpressureError, match="Kafka"):
                bare.append({"t": [new(b"away")]})
            until(lambda: started._value.get() > 0)
        finally:
            kafka_broker.start()
        for record in numbered(60)[40:]:
            spooled.append({SPREAD: [record]})
        copier.join(120)
        assert not copier.is_alive()
        assert values(read(log.consumer("check", ["out"]), count)) == [b"%d" % n for n in range(count)]
        found = read(spooled.consumer("check", [SPREAD]), 60)
        for number in range(MANY):
            mine = list(dict.fromkeys(record.value for record in found if record.partition == number))
            assert mine == [b"%d" % n for n in range(number, 60, MANY)]  # all, in order
        assert all(record.timestamp_ns == int(record.value) for record in found)  # as they were received
        until(lambda: taken(bare, b"after"))
        assert values(newest(log, "t", 1, max_bytes=1 << 20)) == [b"after"]
    finally:
        spooled.close()


def taken(log: KafkaEventLog, value: bytes) -> bool:
    """As a sender that tries again sees it."""
    try:
        log.append({"t": [new(value)]})
    except RetryableError:
        return False
    return True


def read_count(log: KafkaEventLog, topic: str) -> int:
    return len(newest(log, topic, 1_000, max_bytes=1 << 20))


def test_a_full_spool_asks_senders_to_wait(tmp_path: Path) -> None:
    settings = Settings(
        data=tmp_path,
        eventlog={"backend": "kafka", "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "spool": 2 << 20}},
    )
    log = open_eventlog(settings, spool=True)
    try:
        assert len(fill(log, SPREAD)) > 5
        with pytest.raises(BackpressureError, match=r"eventlog\.kafka\.spool"):
            log.append({SPREAD: [new(os.urandom(128 << 10))]})
    finally:
        log.close()


def test_the_broker_asks_for_tls_and_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What was refused here is no trouble of the broker of the tests that follow.
    monkeypatch.setattr(kafka_client._troubles, "_at", kafka_client._troubles._at)
    cert, key = certificate(tmp_path, "broker")
    pem = tmp_path / "broker.pem"
    pem.write_bytes(key.read_bytes() + cert.read_bytes())
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required username=broker password=inner;"
    broker = Broker(
        tmp_path / "kafka",
        scram={"dimwatch": "right", "broker": "inner"},
        settings={
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": login,
            "listener.name.clients.ssl.keystore.type": "PEM",
            "listener.name.clients.ssl.keystore.location": str(pem),
            "listener.name.clients.ssl.truststore.type": "PEM",
            "listener.name.clients.ssl.truststore.location": str(cert),
        },
    )
    with running(broker):

        def log(password: str, **more: Any) -> KafkaEventLog:
            return KafkaEventLog(
                kafka(
                    broker,
                    security_protocol="SASL_SSL",
                    sasl_user="dimwatch",
                    sasl_password=password,
                    tls_ca=cert,
                    **more,
                ).eventlog.kafka
            )

        right = log("right")
        right.append({"t": [new(b"1")]})
        consumer = right.consumer("g", ["t"])
        consumer.commit(after(read(consumer, 1)), {"out": [new(b"2")]})
        right.close()
        wrong = log("wrong", delivery_timeout_s=5.0)
        with pytest.raises((PermanentError, RetryableError), match="sasl_password"):
            wrong.append({"t": [new(b"1")]})
        wrong.close()
