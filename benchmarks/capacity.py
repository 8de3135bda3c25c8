"""What so many spans a second take: cores of each stage, bytes of each hop, memory, rows and bytes of the store.

    python -m benchmarks.capacity                    # measure, reckon for 1,000,000 spans/s, and check by simulation
    python -m benchmarks.capacity --spans-per-s 5e4

Costs are processor time of this machine, in one process, without network and disks; docs/capacity.md says what that
leaves out. The simulation lets spans arrive in bursts, stages work in batches and a worker die, and says how far behind
the last stage gets.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import partitions
from benchmarks.figures import Figure, heading
from dimwatch import records
from dimwatch.app.pipeline import Pipeline
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings, Store
from dimwatch.simulate.load import LoadPool
from dimwatch.store.engine import Engine
from dimwatch.store.migrate import create_database, migrate
from dimwatch.store.sink import GROUP, TABLES, Sink, SinkLimits
from dimwatch.store.target import EngineTarget
from ingest.normalize import Request
from ingest.otlp.admission import Limits, admit
from ingest.otlp.signals import TRACES
from ingest.otlp.spread import spread
from ingest.redaction import Redactor

_START_NS: Final = 1_760_000_000 * NS_PER_SECOND
_PARTITIONS: Final = 12
_REQUESTS: Final = 96
_SECONDS: Final = 4
_UTILISATION: Final = 0.6
"""Of a core, planned: the rest is for bursts, restarts and what was not measured."""
_MERGES_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a span."""

    cpu_us: Mapping[str, float]
    """By stage."""
    bytes: Mapping[str, float]
    """By hop: what it takes on the wire or on disk, once."""
    rows: float
    """Rows of the store."""


def measure() -> Costs:
    """A few hundred thousand spans through each stage, one after the other."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    load, redactor, limits = LoadPool(512), Redactor(), Limits.of(Settings().receiver, _START_NS)
    bodies = [load.request(_START_NS) for _ in range(_REQUESTS)]
    spans = sum(count for _, count in bodies)
    cpu_us: dict[str, float] = {}
    sizes = {"OTLP, as it comes": load.bytes_per_span}
    began = time.process_time()
    for body, _ in bodies:
        spread(admit(body, TRACES, limits, redactor).pieces, TRACES, _PARTITIONS)
    cpu_us["collector"] = (time.process_time() - began) / spans * 1e6
    sizes["otlp_spans (lz4)"] = sum(len(pa.compress(body, "lz4", asbytes=True)) for body, _ in bodies) / spans

    log, all_spans, took = _work(load)
    cpu_us["worker"] = took / all_spans * 1e6
    for topic in (records.SPANS, records.TRACES, records.OBSERVATIONS, records.POINTS, records.CHECKPOINTS):
        sizes[topic] = partitions.size_of(log, topic) / all_spans
    cpu_us["sink and store"], sizes["store, on disk"], rows = _sink(log, all_spans)
    return Costs(cpu_us, sizes, rows)


def _work(load: LoadPool) -> tuple[MemoryEventLog, int, float]:
    log, clock = MemoryEventLog(partitions=_PARTITIONS, max_bytes=8 << 30), ManualClock(_START_NS)
    worker, spans, took = Worker(Settings(), log, clock), 0, 0.0
    for second in range(_SECONDS + 1):
        now_ns = _START_NS + second * 5 * NS_PER_SECOND
        clock.advance_to(now_ns)
        spans += partitions.append(log, load, _REQUESTS if second < _SECONDS else 0, now_ns, _PARTITIONS)
        began = time.process_time()
        while worker.step(0.0):
            pass
        took += time.process_time() - began
    return log, spans, took


def open_bytes() -> float:
    """Memory that a worker holds for a span whose trace is open."""
    load, pipeline = LoadPool(512), Pipeline(Settings(), recoverable=True)
    requests = [Request(load.request(_START_NS)[0], _START_NS) for _ in range(_REQUESTS)]
    output = pipeline.add(requests, (), now_ns=_START_NS, record=0)
    return pipeline.assembler.open_bytes / output.arrived


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _sink(log: MemoryEventLog, spans: int) -> tuple[float, float, float]:
    """µs a span of sink and engine together, merges too; bytes on disk and rows a span."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder), 4 << 30)
        with engine.session() as session:
            create_database(lambda query: session.run(query).data.decode(), Store())
            session.use("dimwatch")
            migrate(lambda query: session.run(query).data.decode(), Store())
        sink = Sink(log, EngineTarget(engine, "dimwatch"), ManualClock(_START_NS), SinkLimits())
        consumer = log.consumer(GROUP, list(TABLES))
        began = _cpu_s()
        while sink.step(consumer, timeout_s=0.0):
            pass
        time.sleep(_MERGES_S)
        took = _cpu_s() - began
        with engine.session() as session:
            session.use("dimwatch")
            told = session.run(
                "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'dimwatch'"
            )
            rows, size = (float(value) for value in told.data.decode().split("\t"))
        engine.close()
    return took / spans * 1e6, size / spans, rows / spans


def plan(costs: Costs, spans_per_s: float) -> Iterator[Figure]:
    """What so many spans a second take."""
    for stage, cost in costs.cpu_us.items():
        yield Figure(f"cores: {stage}", spans_per_s * cost / 1e6 / _UTILISATION, "cores")
    for hop, size in costs.bytes.items():
        yield Figure(f"bytes: {hop}", spans_per_s * size / 1e6, "MB/s")
    yield Figure("store: rows a day", spans_per_s * 86_400 * costs.rows / 1e9, "10^9 rows")
    yield Figure("store: bytes a day", spans_per_s * 86_400 * costs.bytes["store, on disk"] / 1e12, "TB")


def simulate(costs: Costs, spans_per_s: float, *, cores: float = 1.0, seed: int = 1) -> dict[str, float]:
    """Seconds that stages get behind, at most, in an hour with bursts to 1.5 times the rate and one worker that dies.

    `cores` scales what `plan` says. Each stage has whole processes of one core; a worker owns its partitions, which
    carry unlike loads, and a dead one is replaced after half a minute. Time goes in steps of a tenth of a second.
    """
    rng = np.random.default_rng(seed)
    step_s, steps = 0.1, 36_000
    count = {
        stage: max(1, math.ceil(cores * spans_per_s * cost / 1e6 / _UTILISATION))
        for stage, cost in costs.cpu_us.items()
    }
    queues = {stage: np.zeros(number) for stage, number in count.items()}
    shares = {stage: rng.gamma(400.0, size=number) for stage, number in count.items()}
    shares = {stage: share / share.sum() for stage, share in shares.items()}
    behind = dict.fromkeys(count, 0.0)
    for at in range(steps):
        second = at * step_s
        burst = 1.5 if second % 600 < 60 else 1.0
        flow = float(rng.poisson(spans_per_s * burst * step_s))
        for stage, cost in costs.cpu_us.items():
            capacity = np.full(count[stage], step_s / cost * 1e6)
            if stage == "worker" and 1000 <= second < 1030:
                capacity[0] = 0.0
            queue = queues[stage] + flow * shares[stage]
            done = np.minimum(queue, capacity)
            queues[stage] = queue - done
            flow = float(done.sum())
            rate = spans_per_s * shares[stage]
            behind[stage] = max(behind[stage], float((queues[stage] / rate).max()))
    left = {f"{stage}, at the end": float(queue.sum()) / spans_per_s for stage, queue in queues.items()}
    return behind | left


def main() -> None:
    """Measure, reckon, check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans-per-s", type=float, default=1e6)
    options = parser.parse_args()
    print(heading("Capacity"))
    costs = measure()
    figures = [Figure(f"cpu: {stage}", cost, "us/span") for stage, cost in costs.cpu_us.items()]
    figures += [Figure(f"size: {hop}", size, "B/span") for hop, size in costs.bytes.items()]
    figures.append(Figure("memory of a span of an open trace", open_bytes(), "B"))
    figures += plan(costs, options.spans_per_s)
    for share in (1.0, 0.5):
        told = simulate(costs, options.spans_per_s, cores=share)
        figures += [Figure(f"behind with {share:g} of the cores: {stage}", value, "s") for stage, value in told.items()]
    table = Table("figure", "value", "unit")
    for figure in figures:
        print(figure.json(), flush=True)
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit)
    Console().print(table)


if __name__ == "__main__":
    main()
