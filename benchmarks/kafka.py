"""The pipeline over Kafka on this machine, broker and all: spans a second that it sustains, and what each stage costs.

OTLP over HTTP is sent at a rate that is stepped up, to a collector, a worker, a fleet stage and a sink as processes of
their own, into a store that stands in for a ClickHouse server. A rate is sustained when all of it is acknowledged in
time and nothing is further behind at its end than at its beginning, but for a few seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from benchmarks.processes import cpu_s, peak_bytes
from benchmarks.roles import Roles
from benchmarks.stepping import SPANS_A_REQUEST, Sent, send, step_up
from dimwatch.simulate.load import LoadPool
from tests.kafka_broker import Broker, running

RATES: Final = (10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000)
MAX_BEHIND_S: Final = 8.0
"""Time until all is stored: two seconds that traces wait for more spans, and what is on its way."""

ROLES: Final = ("collector", "worker", "fleet", "store")

_BROKER: Final = "broker"


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one rate."""

    sent: Sent
    clear_s: float
    cpu_s: Mapping[str, float]
    """By process, from the first span to the last that is in the store."""

    @property
    def sustained(self) -> bool:
        """Did all stages keep up?"""
        return self.sent.in_time and self.clear_s < MAX_BEHIND_S

    @property
    def cpu_us(self) -> dict[str, float]:
        """Microseconds a span, by process."""
        return {name: used / self.sent.spans * 1e6 for name, used in self.cpu_s.items()}

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {used:.1f}" for name, used in self.cpu_us.items())
        return (
            f"wanted {self.sent.wanted:,.0f} spans/s: acknowledged {self.sent.rate:,.0f}, "
            f"all through {self.clear_s:.1f} s later; µs of CPU a span: {stages}"
        )


@contextmanager
def installation(folder: Path, names: Sequence[str] = ROLES) -> Iterator[tuple[Broker, Roles]]:
    """A broker and one process of each of these roles, and the store that stands in for a server."""
    broker = Broker(folder / "kafka", jvm=("-XX:+UseSerialGC",))
    settings = {"assembly__linger_s": "2", "assembly__idle_s": "5", "assembly__max_idle_s": "5"}
    with running(broker), Roles(folder, broker, workers=1, roles=names, settings=settings) as roles:
        yield broker, roles


def run(seconds: float = 30.0) -> Iterator[Figure]:
    """Step the rate up until some stage does not keep up."""
    with tempfile.TemporaryDirectory() as folder, installation(Path(folder)) as (broker, roles):
        load = LoadPool(SPANS_A_REQUEST)
        warm = _round(roles, broker, load, RATES[0], 10.0)  # until everything is loaded
        best, spans = step_up(RATES, lambda rate: _round(roles, broker, load, rate, seconds))
        roles.drain(300.0)
        visible, distinct = roles.rows("SELECT count(), uniqExact(trace_id, span_id) FROM spans")[0]
        resident = {name: peak_bytes(pid) for name, pid in pids(roles, broker).items()}
    yield Figure("kafka_spans_per_s", best.sent.rate if best is not None else 0.0, "spans/s")
    if best is not None:
        for name, used in best.cpu_us.items():
            yield Figure(f"kafka_cpu_{name.replace('-', '_')}", used, "us/span")
        yield Figure("kafka_cpu_all", sum(best.cpu_us.values()), "us/span")
    yield Figure("kafka_lost", float(warm.sent.spans + spans - int(visible)), "spans")
    yield Figure("kafka_doubles", float(int(visible) - int(distinct)), "spans")
    for name, size in resident.items():
        yield Figure(f"kafka_resident_{name.replace('-', '_')}", size / 2**20, "MiB")


def _round(roles: Roles, broker: Broker, load: LoadPool, rate: float, seconds: float) -> Round:
    """Send at `rate` spans a second for a while; then wait until workers and sink have caught up."""
    before = {name: cpu_s(pid) for name, pid in pids(roles, broker).items()}
    processed = roles.metric("dimwatch_processed_spans_total", "worker")
    sent = send(roles.http, load, rate, seconds)
    ended = time.monotonic()
    while roles.metric("dimwatch_processed_spans_total", "worker") - processed < sent.spans:
        time.sleep(0.1)
    roles.stored(300.0)
    clear_s = time.monotonic() - ended
    cpu = {name: cpu_s(pid) - before.get(name, 0.0) for name, pid in pids(roles, broker).items()}
    return Round(sent, clear_s, cpu)


def pids(roles: Roles, broker: Broker) -> dict[str, int]:
    """The processes by name, the broker among them."""
    found = {name: process.popen.pid for name, process in roles.processes.items() if process.popen is not None}
    return {_BROKER: broker.pid, **found}
