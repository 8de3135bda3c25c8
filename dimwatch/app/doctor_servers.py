"""What `dimwatch doctor` asks of the servers that are configured: a Kafka cluster, a ClickHouse server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient

from dimwatch import records
from dimwatch.app.machine import Finding
from dimwatch.app.standalone import missing, needs
from dimwatch.errors import DimwatchError, RetryableError
from dimwatch.eventlog.kafka_client import connection, explained
from dimwatch.eventlog.topics import PARTITIONED, partitions
from dimwatch.settings import Kafka, Settings
from dimwatch.store.client import StoreClient
from dimwatch.store.codes import code_of
from dimwatch.store.migrate import pending

_OLDEST_KAFKA: Final = (2, 5)
"""The first brokers that fence a member of an older generation out of a transaction (KIP-447)."""

_OLDEST_CLICKHOUSE: Final = (24, 8)
_PATIENCE_S: Final = 10.0
_TOPIC_RIGHTS: Final = frozenset({"READ", "WRITE", "DESCRIBE"})
_START_KAFKA: Final = (
    "start the brokers, or correct eventlog.kafka.bootstrap_servers (DIMWATCH_EVENTLOG__KAFKA__BOOTSTRAP_SERVERS) and "
    "security_protocol"
)
_GRANT: Final = "correct store.user and store.password, and grant what docs/clickhouse.md lists"
_START_CLICKHOUSE: Final = "start the server, or correct store.host, store.http_port and store.tls"


def kafka(settings: Settings) -> Iterator[Finding]:
    """Whether the brokers answer, let us do our work, are young enough, and have the topics as they should be."""
    own = settings.eventlog.kafka
    if away := asyncio.run(missing(needs(settings, "worker"))):
        yield Finding("eventlog", "fail", away["eventlog"], _START_KAFKA)
        return
    hasty = own.model_copy(
        update={
            "request_timeout_s": min(own.request_timeout_s, _PATIENCE_S),
            "delivery_timeout_s": min(own.delivery_timeout_s, _PATIENCE_S),
        }
    )
    client: Any = None
    try:
        with explained("asking the brokers"):
            client = KafkaAdminClient(**connection(hasty, "doctor"))
            yield from _brokers(client)
            yield from _topics(client, own)
    except RetryableError as error:
        yield Finding("eventlog", "fail", str(error), _START_KAFKA)
    except DimwatchError as error:
        detail, _, remedy = str(error).partition("; ")
        yield Finding("eventlog", "fail", detail, remedy or _START_KAFKA)
    finally:
        if client is not None:
            client.close()


def _brokers(client: Any) -> Iterator[Finding]:
    cluster = client.describe_cluster()
    brokers = [broker for broker in cluster["brokers"] if not broker["is_fenced"]]
    version = client.get_broker_version_data(brokers[0]["broker_id"]).broker_version
    told = ".".join(map(str, version))
    if tuple(version) < _OLDEST_KAFKA:
        needed = ".".join(map(str, _OLDEST_KAFKA))
        remedy = "upgrade the brokers: older ones do not keep a worker that was taken over from writing"
        yield Finding("eventlog", "fail", f"Kafka {told}, needed {needed}", remedy)
    else:
        yield Finding("eventlog", "ok", f"Kafka {told}, {len(brokers)} broker{'s' * (len(brokers) != 1)}")
    if len(brokers) < 3:
        remedy = "three brokers and eventlog.kafka.replication 3 survive the loss of one"
        yield Finding("eventlog", "warn", "what a broker's disk loses is lost", remedy)


def _topics(client: Any, settings: Kafka) -> Iterator[Finding]:
    wanted = {settings.topic_prefix + topic: topic for topic in _named_topics()}
    described = client.describe_topics(list(wanted))
    there = [found for found in described if found["partitions"]]
    rights = set(client.describe_cluster()["authorized_operations"])
    if len(there) < len(wanted):
        if "CREATE" in rights:
            yield Finding("eventlog", "ok", f"{len(wanted) - len(there)} topics will be made at the start")
        else:
            absent = ", ".join(sorted(wanted.keys() - {found["name"] for found in there}))
            remedy = "give the user Create on the cluster, or make the topics for it (docs/kafka.md)"
            yield Finding("eventlog", "fail", f"topics are missing and this user may not make them: {absent}", remedy)
    denied = sorted(found["name"] for found in described if _TOPIC_RIGHTS - set(found["authorized_operations"] or ()))
    if denied:
        remedy = "give the user Read, Write and Describe on them, and on groups and transactional ids (docs/kafka.md)"
        yield Finding("eventlog", "fail", f"this user may not read and write {', '.join(denied)}", remedy)
    wrong = {
        found["name"]: len(found["partitions"])
        for found in there
        if len(found["partitions"]) != partitions(wanted[found["name"]], settings.partitions)
    }
    if wrong:
        told = ", ".join(f"{name} has {count} partitions" for name, count in sorted(wrong.items()))
        remedy = "set eventlog.kafka.partitions to what the topics have, or another eventlog.kafka.topic_prefix"
        yield Finding("eventlog", "fail", told, remedy)
    if there and not denied and not wrong:
        yield Finding("eventlog", "ok", f"{len(there)} topics are as they should be")
    yield from _replicas(there)


def _replicas(topics: Sequence[Any]) -> Iterator[Finding]:
    behind = sorted(
        found["name"]
        for found in topics
        if any(len(part["isr_nodes"]) < len(part["replica_nodes"]) for part in found["partitions"])
    )
    if behind:
        yield Finding("eventlog", "warn", f"copies are behind: {', '.join(behind)}", "see the brokers' logs")


def _named_topics() -> Iterable[str]:
    return {
        *PARTITIONED,
        records.OTLP_METRICS,
        records.POINTS,
        records.SIGHTINGS,
        records.DEAD_LETTERS,
        *records.SCHEMAS,
    }


def clickhouse(settings: Settings) -> Iterator[Finding]:
    """Whether the server answers, knows the account, is young enough, and has the tables."""
    place = f"{settings.store.host}:{settings.store.http_port}"
    client = StoreClient(settings, writer=True, timeout_s=_PATIENCE_S, database="")
    try:
        told = str(client.rows("SELECT version()")[0][0])
        version = tuple(int(part) for part in told.split(".")[:2])
        if version < _OLDEST_CLICKHOUSE:
            needed = ".".join(map(str, _OLDEST_CLICKHOUSE))
            yield Finding("store", "fail", f"ClickHouse {told} at {place}, needed {needed}", "upgrade the server")
        else:
            yield Finding("store", "ok", f"ClickHouse {told} answers at {place}, user {settings.store.user}")
        yield from _tables(settings)
    except DimwatchError as error:
        remedy = _START_CLICKHOUSE if code_of(error) is None else _GRANT
        yield Finding("store", "fail", str(error), remedy)
    finally:
        client.close()


def _tables(settings: Settings) -> Iterator[Finding]:
    database = settings.store.database
    client = StoreClient(settings, writer=True, timeout_s=_PATIENCE_S)
    try:
        ahead = pending(client.command)
    except RetryableError:
        raise
    except DimwatchError:
        yield Finding("store", "ok", f"database {database} will be made at the start of a store role")
        return
    finally:
        client.close()
    if ahead:
        told = f"{len(ahead)} migrations of {database} will be applied at the start of a store role"
        yield Finding(
            "store", "ok" if settings.store.migrate else "fail", told, "" if settings.store.migrate else _ONCE
        )
    else:
        yield Finding("store", "ok", f"the tables of {database} are up to date")


_ONCE: Final = "start a store role once with store.migrate on, as a user that may create tables"
