"""CPU a span of the embedded store: the sink and the engine's insert, with the dashboard's views, and what merges add.

`python -m benchmarks.sink [--spans N] [--spans-an-insert N]` prints one JSON object. CPU seconds, not the clock, so
that other work on the machine matters less; it still makes caches cold.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch import records
from dimwatch.app.pipeline import Pipeline
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings, Store
from dimwatch.simulate.fleet import Fleet
from dimwatch.store.engine import Engine
from dimwatch.store.migrate import create_database, migrate
from dimwatch.store.sink import GROUP, TABLES, Sink, SinkLimits
from dimwatch.store.target import EngineTarget
from ingest.normalize import Request

START_NS = 1_790_000_000 * NS_PER_SECOND
A_RECORD = 8_192
MERGES_S = 6.0


def spans() -> pa.Table:
    """Ten minutes of the simulated fleet, as the worker writes them."""
    pipeline = Pipeline(Settings(data=Path("unused")))
    fleet = Fleet(3, START_NS, START_NS + 600 * NS_PER_SECOND, 4.0)
    requests = [Request(export.body, export.due_ns) for export in fleet.requests() if export.signal == "traces"]
    return pa.concat_tables(pipeline.add(requests, (), now_ns=START_NS + 600 * NS_PER_SECOND, record=0).spans)


def filled(rows: pa.Table, wanted: int, a_record: int) -> tuple[MemoryEventLog, int, int]:
    """A log with `wanted` spans or a few more, none twice; how many, and their bytes."""
    log = MemoryEventLog(max_bytes=16 << 30)
    column = rows.schema.get_field_index("trace_id")
    count = size = 0
    while count < wanted:
        ids = pc.utf8_replace_slice(rows["trace_id"].combine_chunks(), 0, 8, f"{count:08x}")
        again = rows.set_column(column, records.SPAN.field("trace_id"), ids)
        for at in range(0, again.num_rows, a_record):
            value = records.encode(again.slice(at, a_record))
            log.append({records.SPANS: [NewRecord(value, count)]})
            size += len(value)
        count += again.num_rows
    return log, count, size


def cpu_s() -> float:
    """CPU seconds of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, wanted: int, an_insert: int) -> dict[str, object]:
    """One run over an empty store. `an_insert`: spans of one insert; 0: as many as the sink gathers."""
    log, count, size = filled(spans(), wanted, an_insert or A_RECORD)
    engine = Engine(folder / "store", 4 << 30)
    with engine.session() as session:
        create_database(lambda sql: session.run(sql).data.decode(), Store())
        session.use("dimwatch")
        migrate(lambda sql: session.run(sql).data.decode(), Store())
    limits = SinkLimits(batch_records=1) if an_insert else SinkLimits()
    sink = Sink(log, EngineTarget(engine, "dimwatch"), ManualClock(START_NS), limits)
    consumer = log.consumer(GROUP, list(TABLES))
    before, inserts = cpu_s(), 0
    while sink.step(consumer, timeout_s=0):
        inserts += 1
    inserted = cpu_s()
    time.sleep(MERGES_S)
    merged = cpu_s()
    engine.close()
    return {
        "spans": count,
        "bytes_a_span_encoded": round(size / count),
        "inserts": inserts,
        "cpu_ms_an_insert": round(1e3 * (inserted - before) / inserts, 1),
        "cpu_us_a_span": round(1e6 * (inserted - before) / count, 2),
        "cpu_us_a_span_of_merges_after": round(1e6 * (merged - inserted) / count, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=400_000)
    parser.add_argument("--spans-an-insert", type=int, default=0, help="0: as many as the sink gathers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dimwatch-sink-") as folder:
        sys.stdout.buffer.write(orjson.dumps(measure(Path(folder), arguments.spans, arguments.spans_an_insert)) + b"\n")


if __name__ == "__main__":
    main()
