"""Dimwatch itself: on one machine, over Kafka, and over Kafka behind an OpenTelemetry Collector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import kafka
from benchmarks.alternatives.clickhouse import ClickHouse
from benchmarks.alternatives.programs import answers, built_collector, bytes_in, started
from benchmarks.alternatives.trial import Alternative, Disk, Target
from benchmarks.ports import free_ports
from benchmarks.processes import parent
from benchmarks.roles import Roles
from benchmarks.running import Running
from dimwatch.settings import Settings
from dimwatch.store.access import INTERNAL_USER, ensure_token
from tests.kafka_broker import Broker

_DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "collector"
_COLLECTOR: Final = "dimwatch-otelcol"
_COLLECTOR_VERSION: Final = "0.155.0"
_HOST: Final = "127.0.0.1"
_TOLD: Final = "SELECT uniqExact(trace_id) FROM observations WHERE has({ids:Array(String)}, trace_id)"


@contextmanager
def _embedded(_: Path, folder: Path) -> Iterator[Target]:
    with Running(folder) as dimwatch:
        settings = dimwatch.settings()
        collector = dimwatch.pid("collector")
        assert collector is not None
        supervisor = parent(collector)
        store = _store(settings, INTERNAL_USER, ensure_token(settings))
        log = dimwatch.data / "eventlog"
        yield _target(dimwatch.http, store, [supervisor], log)


@contextmanager
def _over_kafka(_: Path, folder: Path) -> Iterator[Target]:
    with kafka.installation(folder) as (broker, roles):
        yield _of_roles(roles.http, broker, roles)


@contextmanager
def _behind_collector(kept: Path, folder: Path) -> Iterator[Target]:
    program = _DEPLOY / "build" / _COLLECTOR
    if not program.exists():
        program = built_collector(kept, _DEPLOY / "builder.yaml", _COLLECTOR, _COLLECTOR_VERSION)
    names = ("OTELCOL_GRPC", "OTELCOL_HTTP", "OTELCOL_HEALTH")
    *ports, metrics_port = free_ports(len(names) + 1)
    environment = {name: f"{_HOST}:{port}" for name, port in zip(names, ports, strict=True)}
    environment |= {"OTELCOL_METRICS_PORT": str(metrics_port), "OTELCOL_QUEUE": str(folder / "queue")}
    command = [str(program), "--config", str(_DEPLOY / "config.yaml")]
    health = f"http://{environment['OTELCOL_HEALTH']}"
    roles_of_ours = [name for name in kafka.ROLES if name != "collector"]
    with kafka.installation(folder, roles_of_ours) as (broker, roles):
        environment["KAFKA_BROKERS"] = broker.address
        with started(command, folder / "otelcol", lambda: answers(health), environment) as pid:
            yield _of_roles(f"http://{environment['OTELCOL_HTTP']}", broker, roles, pid)


def _of_roles(address: str, broker: Broker, roles: Roles, *more: int) -> Target:
    settings = roles.settings()
    store = _store(settings, settings.store.user, settings.store.password.get_secret_value())
    return _target(address, store, [*kafka.pids(roles, broker).values(), *more], broker.data)


def _store(settings: Settings, user: str, password: str) -> ClickHouse:
    return ClickHouse(f"http://{_HOST}:{settings.store.http_port}", user, password, settings.store.database)


def _target(address: str, store: ClickHouse, pids: Sequence[int], log: Path) -> Target:
    def kept() -> tuple[int, int]:
        visible, distinct = store.numbers("SELECT count(), uniqExact(trace_id, span_id) FROM spans")
        return visible, distinct

    return Target(
        address,
        pids=pids,
        spans=lambda: store.numbers("SELECT count() FROM span_versions")[0],
        kept=kept,
        told=lambda trace_ids: store.numbers(_TOLD, trace_ids)[0],
        disk=lambda: Disk(store.bytes_on_disk(), bytes_in(log)),
    )


_FINDS: Final = "observations of single runs and incidents of the fleet, with nothing set up"
EMBEDDED: Final = Alternative(
    "Dimwatch",
    "`dimwatch up`, SQLite eventlog and chDB store; default settings, but a trace without a root ends after 30 s",
    "is on disk",
    _FINDS,
    _embedded,
)
OVER_KAFKA: Final = Alternative(
    "Dimwatch over Kafka",
    "one process of each role, one broker, a store role of its own as ClickHouse server; "
    "traces wait two seconds for more spans",
    "is in Kafka's log",
    _FINDS,
    _over_kafka,
)
BEHIND_COLLECTOR: Final = Alternative(
    "OpenTelemetry Collector, Kafka, Dimwatch",
    f"as above, with a Collector {_COLLECTOR_VERSION} of `deploy/collector` before it: one message a trace",
    "is in a queue on disk",
    _FINDS,
    _behind_collector,
)
