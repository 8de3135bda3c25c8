"""The scenarios of `benchmarks.faults`: what each does while traffic flows."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx
from kafka import KafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.oracle import SpanKey, span_keys
from benchmarks.roles import ROLES, Roles
from benchmarks.running import until
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.simulate.export import Export
from dimwatch.simulate.load import LoadPool
from tests import otel_exporter
from tests.kafka_broker import Broker

KILLS: Final = 100
_POISON: Final = (
    b"",
    b"\x00",
    b"\xff" * 1000,
    b"not protobuf at all",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x0a\x05\x12\x03\x12\x01",
)
_VISIBLE: Final = "SELECT count() FROM spans WHERE trace_id = '{}'"


@dataclass
class Stage:
    """Where a scenario acts, and what it notes."""

    roles: Roles
    broker: Broker
    rng: random.Random
    scale: float
    end: float
    """When traffic ends, by the monotonic clock."""
    recovery_s: dict[str, list[float]]
    acknowledged: set[SpanKey] = field(default_factory=set)
    """What the scenario itself has put into the eventlog."""
    poison: int = 0

    def pause(self, seconds: float) -> None:
        """Let traffic flow."""
        time.sleep(max(0.0, min(seconds, self.end - time.monotonic())))

    def well_again(self, what: str, patience_s: float = 300.0) -> None:
        """Note the seconds until a span that is sent now can be seen."""
        started = time.monotonic()
        body = _probe(self.rng, SystemClock().now_ns())
        keys = list(span_keys(body))
        headers = {"content-type": "application/x-protobuf"}

        def taken() -> bool:
            try:
                answer = httpx.post(f"{self.roles.http}/v1/traces", content=body, headers=headers, timeout=10.0)
                return answer.is_success
            except httpx.HTTPError:
                return False

        until(taken, patience_s, "no span was taken")
        self.acknowledged.update(keys)
        until(lambda: bool(self._rows(_VISIBLE.format(keys[0][0]))), patience_s, "a new span did not become visible")
        self.recovery_s[what].append(time.monotonic() - started)

    def _rows(self, sql: str) -> int:
        try:
            return int(self.roles.rows(sql)[0][0])
        except httpx.HTTPError:
            return 0


def _probe(rng: random.Random, now_ns: int) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    span = scope.spans.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), name="probe")
    span.start_time_unix_nano = span.end_time_unix_nano = now_ns
    return request.SerializeToString()


def _nothing(stage: Stage) -> None:
    stage.pause(float("inf"))


def _unchanged(exports: list[Export], _rng: random.Random) -> list[Export]:
    return exports


def _fine(_stage: Stage) -> list[str]:
    return []


def _unwrapped(_folder: Path) -> Mapping[str, Sequence[str]]:
    return {}


@dataclass(frozen=True)
class Scenario:
    """What is done to the traffic and to the processes, and what has to be true afterwards beside the proof."""

    full_s: float
    """Seconds of traffic in full."""
    act: Callable[[Stage], None] = _nothing
    least_s: float = 30.0
    change: Callable[[list[Export], random.Random], list[Export]] = _unchanged
    check: Callable[[Stage], list[str]] = _fine
    wrap: Callable[[Path], Mapping[str, Sequence[str]]] = _unwrapped
    """Words before the command of a process, by its name."""
    settings: dict[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ("collector", "worker", "fleet", "store")
    """Those that run: the way of the data alone, where the others make no difference."""

    def seconds(self, scale: float) -> float:
        """Seconds of traffic."""
        return max(self.least_s, self.full_s * scale)


def kills(stage: Stage) -> None:
    """`kill -9` of each process in turn, at random moments."""
    names = sorted(stage.roles.processes)
    count = max(len(names), round(KILLS * stage.scale))
    started = time.monotonic()
    for number in range(count):
        moment = started + (number + stage.rng.random()) * (stage.end - started) / count
        stage.pause(moment - time.monotonic())
        name = names[number % len(names)]
        stage.recovery_s[f"kill -9 of {name}"].append(stage.roles.kill(name))


def kill_each(stage: Stage) -> None:
    """`kill -9` of each process once, one after the other, without waiting until the one before is back."""
    names = sorted(stage.roles.processes)
    every_s = (stage.end - time.monotonic()) / (len(names) + 1)
    with ThreadPoolExecutor(len(names)) as pool:
        back = {}
        for name in names:
            stage.pause(every_s)
            back[name] = pool.submit(stage.roles.kill, name)
        for name, seconds in back.items():
            stage.recovery_s[f"kill -9 of {name}"].append(seconds.result())


def broker_restart(stage: Stage) -> None:
    """The broker is stopped in good order and killed, and started again soon."""
    for stop in (stage.broker.stop, stage.broker.kill):
        stage.pause(8.0)
        stop()
        stage.pause(3.0)
        stage.broker.start()
        stage.well_again("broker restarted")


def broker_gone(stage: Stage) -> None:
    """The broker is killed and away for two minutes."""
    stage.pause(8.0)
    stage.broker.kill()
    time.sleep(max(5.0, 120.0 * stage.scale))
    stage.broker.start()
    stage.well_again("broker away")


def rebalance(stage: Stage) -> None:
    """Workers come and go every few seconds, half of them without a word."""
    extra: list[int] = []
    number = 100
    while time.monotonic() < stage.end - 5.0:
        stage.pause(stage.rng.uniform(1.0, 4.0))
        if len(extra) < 2 and (not extra or stage.rng.random() < 0.6):
            number += 1
            extra.append(number)
            stage.roles.add_worker(number)
        else:
            how = stage.rng.choice([signal.SIGTERM, signal.SIGKILL])
            stage.roles.remove(f"worker-{extra.pop(0)}", how)
    for left in extra:
        stage.roles.remove(f"worker-{left}")
    stage.well_again("the last worker came or went")


def store_gone(stage: Stage) -> None:
    """The ClickHouse server can not be reached for five minutes."""
    stage.pause(8.0)
    stage.roles.proxy.away()
    time.sleep(max(8.0, 300.0 * stage.scale))
    stage.roles.proxy.well()
    stage.well_again("ClickHouse away")


def store_slow(stage: Stage) -> None:
    """Every 64 KiB to and from the ClickHouse server takes two seconds, for ten minutes."""
    stage.pause(8.0)
    stage.roles.proxy.slow(2.0)
    time.sleep(max(8.0, 600.0 * stage.scale))
    stage.roles.proxy.well()
    stage.well_again("ClickHouse slow")


def disk_full(stage: Stage) -> None:
    """The broker is away until the disk of the collector's spool is full and for a while after that."""
    stage.pause(5.0)
    stage.broker.kill()
    time.sleep(max(20.0, 60.0 * stage.scale))
    stage.broker.start()
    stage.well_again("broker away, disk full")


def small_disk(folder: Path) -> Mapping[str, Sequence[str]]:
    """The collector's folder is a file system of a few MiB."""
    data = folder / "collector"
    data.mkdir()
    unshare = shutil.which("unshare")
    assert unshare is not None, "unshare is not installed: apt-get install util-linux"
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    return {"collector": [unshare, "--map-root-user", "--mount", "sh", "-c", mount, str(data)]}


def twice_and_shuffled(exports: list[Export], rng: random.Random) -> list[Export]:
    """Every third request comes twice, and any of them up to four seconds late."""
    again = [export for export in exports if rng.random() < 1 / 3]
    late = [
        replace(export, due_ns=export.due_ns + int(rng.random() * 4 * NS_PER_SECOND)) for export in (*exports, *again)
    ]
    return sorted(late, key=lambda export: export.due_ns)


def poison(stage: Stage) -> None:
    """Messages that are no OTLP come into the topic of spans, and records that are no rows into topics of tables."""
    producer = KafkaProducer(bootstrap_servers=stage.broker.address, acks="all")
    try:
        for value in _POISON:
            stage.pause(2.0)
            for topic in (records.OTLP_SPANS, records.OTLP_LOGS, records.SPANS, records.INCIDENTS):
                producer.send(topic, value=value, partition=0).get(30)
            stage.poison += 1
    finally:
        producer.close()
    stage.well_again("poison")


def poison_is_told(stage: Stage) -> list[str]:
    """Nothing of it went in silence."""
    told = int(stage.roles.rows("SELECT sum(count) FROM drops WHERE stage IN ('worker', 'store')")[0][0])
    # An empty message is a request without spans, which is no fault.
    return [] if told >= stage.poison else [f"{told} drops told of {stage.poison} poisoned messages a topic"]


def skewed(exports: list[Export], rng: random.Random) -> list[Export]:
    """Each service has a clock of its own, wrong by up to two hours."""
    off: dict[str, int] = {}
    changed = []
    for export in exports:
        by_ns = off.setdefault(export.service, int(rng.uniform(-7200, 7200)) * NS_PER_SECOND)
        changed.append(export if export.signal != "traces" else replace(export, body=_shifted(export.body, by_ns)))
    return changed


def _shifted(body: bytes, by_ns: int) -> bytes:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.start_time_unix_nano += by_ns
                span.end_time_unix_nano += by_ns
    return request.SerializeToString()


def skewed_collector(stage: Stage) -> None:
    """A Collector whose machine is three seconds behind writes into the topic too."""
    producer = KafkaProducer(bootstrap_servers=stage.broker.address, acks="all")
    load = LoadPool(64, seed=2, service="elsewhere")
    clock = SystemClock()
    try:
        while time.monotonic() < stage.end - 1.0:
            stage.pause(0.5)
            now_ns = clock.now_ns()
            body, _ = load.request(now_ns)
            request = ExportTraceServiceRequest.FromString(body)
            sent = [
                producer.send(records.OTLP_SPANS, value=value, key=key, timestamp_ms=now_ns // 10**6 - 3_000)
                for key, value in otel_exporter.spans(request)
            ]
            for future in sent:
                future.get(30)
            stage.acknowledged.update(span_keys(body))
    finally:
        producer.close()


SCENARIOS: Final[dict[str, Scenario]] = {
    "calm": Scenario(180.0, roles=ROLES),
    "kills": Scenario(900.0, kills, roles=ROLES),
    "kill_each": Scenario(20.0, kill_each, roles=ROLES),
    "broker_restart": Scenario(180.0, broker_restart),
    "broker_gone": Scenario(180.0, broker_gone),
    "rebalance": Scenario(180.0, rebalance),
    "store_gone": Scenario(360.0, store_gone),
    "store_slow": Scenario(660.0, store_slow),
    "disk_full": Scenario(120.0, disk_full, wrap=small_disk),
    "duplicates": Scenario(180.0, change=twice_and_shuffled),
    "poison": Scenario(180.0, poison, check=poison_is_told),
    "clock_skew": Scenario(180.0, skewed_collector, change=skewed),
}
"""`calm` does nothing: what the others are compared with."""
