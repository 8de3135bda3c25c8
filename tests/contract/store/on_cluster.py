"""A process whose engine knows a cluster of one shard: runs the cluster's migrations, and writes and reads through it.

The engine has no servers to run things on and no Keeper, so ON CLUSTER and Replicated are taken out; what is left is
run. `python -m tests.contract.store.on_cluster FOLDER` prints what a test checks, as JSON.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import orjson
import pyarrow as pa

from dimwatch.settings import Store
from dimwatch.store.engine import Session, quote_string
from dimwatch.store.migrate import Execute, create_database, migrate
from dimwatch.store.rollup import RollUp

_CONFIG = """
<clickhouse>
  <tcp_port>9000</tcp_port>
  <remote_servers><many><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></many></remote_servers>
</clickhouse>
"""
_SPANS = """
INSERT INTO span_versions (tenant, trace_id, span_id, start_time, version, name, kind, counted)
SETTINGS distributed_foreground_insert = 1
SELECT '', toString(number % 10), toString(number), '2026-05-04 03:02:01', {version}, 'v{version}', 'llm', true
FROM numbers(100)
"""


@dataclass
class Tables:
    """Those of the cluster, as the sums use them."""

    session: Session
    command: Execute

    def insert(self, table: str, rows: pa.Table) -> None:
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        settings = "distributed_foreground_insert = 1"
        self.session.insert(f"INSERT INTO {table} SETTINGS {settings}", "ArrowStream", [stream.getvalue().to_pybytes()])


def main(folder: Path) -> None:
    """Migrate twice, write two versions of a hundred model calls, sum them up, and tell what is there."""
    config = folder / "config.xml"
    config.write_text(_CONFIG)
    session = Session(import_module("chdb._chdb").connect(f"{folder / 'data'}?config-file={config}"))

    def execute(sql: str) -> str:
        plain = session.run(f"SELECT formatQuery({quote_string(sql)})", "TSVRaw").data.decode()
        plain = plain.replace(" ON CLUSTER many", "")
        plain = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"\1(", plain)
        return session.run(plain).data.decode()

    store = Store(cluster="many")
    create_database(execute, store)
    session.use(store.database)
    first, again = migrate(execute, store), migrate(execute, store)
    for version in (1, 2):
        session.run(_SPANS.format(version=version))
    RollUp(Tables(session, execute)).run()

    def rows(sql: str) -> list[list[str]]:
        return [line.split("\t") for line in session.run(sql).data.decode().splitlines()]

    told = {
        "first": first,
        "again": again,
        "engines": dict(rows("SELECT name, engine FROM system.tables WHERE database = 'dimwatch'")),
        "spans": rows("SELECT count(), uniq(trace_id), min(name) FROM spans"),
        "summed": rows("SELECT sum(told.calls) FROM model_hours ARRAY JOIN models AS told"),
        "local": rows("SELECT count() > 0 FROM span_versions_local"),
        "of_traces": rows(
            "SELECT count() FROM spans WHERE trace_id IN (SELECT trace_id FROM spans WHERE span_id = '7')"
        ),
    }
    sys.stdout.buffer.write(orjson.dumps(told))
    session.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
