"""What people would run instead: an OpenTelemetry Collector in front of ClickHouse, Arize Phoenix, MLflow."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx

from benchmarks.alternatives.clickhouse import ClickHouse
from benchmarks.alternatives.programs import answers, built_collector, bytes_in, installed, started
from benchmarks.alternatives.trial import Alternative, Disk, Target
from benchmarks.ports import free_ports

_HERE: Final = Path(__file__).parent
_HOST: Final = "127.0.0.1"
_COLLECTOR: Final = "otelcol-clickhouse"
_COLLECTOR_VERSION: Final = "0.161.0"
_PHOENIX: Final = "20.26.1"
_MLFLOW: Final = "3.17.2"

_COLLECTOR_TOLD: Final = """
SELECT uniqExact(TraceId) FROM otel_traces WHERE has({ids:Array(String)}, TraceId) AND StatusCode = 'Error'"""
_PHOENIX_TOLD: Final = """
SELECT count(DISTINCT traces.id) FROM traces JOIN spans ON spans.trace_rowid = traces.id WHERE traces.trace_id IN (?)
AND (spans.status_code = 'ERROR' OR spans.id IN (SELECT span_rowid FROM span_annotations)
OR traces.id IN (SELECT trace_rowid FROM trace_annotations))"""
_MLFLOW_TOLD: Final = """
SELECT count() FROM trace_info WHERE substr(request_id, 4) IN (?)
AND (status = 'ERROR' OR request_id IN (SELECT trace_id FROM assessments))"""


@contextmanager
def _collector(kept: Path, folder: Path) -> Iterator[Target]:
    program = built_collector(kept, _HERE / "otelcol-builder.yaml", _COLLECTOR, _COLLECTOR_VERSION)
    otlp, http, health = free_ports(3)
    store = ClickHouse(f"http://{_HOST}:{http}", "dimwatch", "only-here", "otel")
    server = {"DATA": str(folder / "data"), "STORE__HTTP_PORT": str(http)}
    server |= {"STORE__USER": store.user, "STORE__PASSWORD": store.password}
    environment = {"OTELCOL_HTTP": f"{_HOST}:{otlp}", "CLICKHOUSE": store.address}
    environment |= {"CLICKHOUSE_USER": store.user, "CLICKHOUSE_PASSWORD": store.password}
    address = f"http://{_HOST}:{otlp}"
    with (
        started(
            [sys.executable, "-P", "-m", "dimwatch", "store", "--health-port", str(health)],
            folder / "clickhouse",
            lambda: answers(f"http://{_HOST}:{health}/readyz"),
            {f"DIMWATCH_{name}": value for name, value in server.items()},
        ) as server_pid,
        started(
            [str(program), "--config", str(_HERE / "otelcol.yaml")],
            folder / "otelcol",
            lambda: _takes_traces(address),
            environment,
        ) as pid,
    ):

        def kept_spans() -> tuple[int, int]:
            visible, distinct = store.numbers("SELECT count(), uniqExact(TraceId, SpanId) FROM otel_traces")
            return visible, distinct

        yield Target(
            address,
            pids=[pid, server_pid],
            spans=lambda: store.numbers("SELECT count() FROM otel_traces")[0],
            kept=kept_spans,
            told=lambda trace_ids: store.numbers(_COLLECTOR_TOLD, trace_ids)[0],
            disk=lambda: Disk(store.bytes_on_disk()),
        )


@contextmanager
def _phoenix(kept: Path, folder: Path) -> Iterator[Target]:
    program = installed(kept, f"arize-phoenix=={_PHOENIX}") / "phoenix"
    http, grpc = free_ports(2)
    environment = {"PHOENIX_HOST": _HOST, "PHOENIX_PORT": str(http), "PHOENIX_GRPC_PORT": str(grpc)}
    environment |= {"PHOENIX_WORKING_DIR": str(folder / "data"), "PHOENIX_TELEMETRY_ENABLED": "false"}
    address = f"http://{_HOST}:{http}"
    with started([str(program), "serve"], folder, lambda: answers(f"{address}/healthz"), environment) as pid:
        yield _on_sqlite(address, pid, folder / "data" / "phoenix.db", _PHOENIX_TOLD)


@contextmanager
def _mlflow(kept: Path, folder: Path) -> Iterator[Target]:
    programs = installed(kept, f"mlflow=={_MLFLOW}")
    (http,) = free_ports(1)
    database = folder / "data" / "mlflow.db"
    database.parent.mkdir()
    command = [str(programs / "mlflow"), "server", "--host", _HOST, "--port", str(http)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "artifacts")]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    address = f"http://{_HOST}:{http}"
    with started(command, folder, lambda: answers(f"{address}/health"), environment) as pid:
        yield _on_sqlite(address, pid, database, _MLFLOW_TOLD, {"x-mlflow-experiment-id": "0"})


def _on_sqlite(address: str, pid: int, database: Path, told: str, headers: Mapping[str, str] | None = None) -> Target:
    """A server with its spans in the table `spans` of a SQLite database."""

    def numbers(sql: str, values: Sequence[str] = ()) -> list[int]:
        sql = sql.replace("(?)", f"({', '.join('?' * len(values))})")
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60.0)) as connection:
            return list(connection.execute(sql, values).fetchone())

    def kept() -> tuple[int, int]:
        visible, distinct = numbers("SELECT count(), count(DISTINCT span_id) FROM spans")
        return visible, distinct

    return Target(
        address,
        pids=[pid],
        spans=lambda: numbers("SELECT count() FROM spans")[0],
        kept=kept,
        told=lambda trace_ids: numbers(told, trace_ids)[0],
        disk=lambda: Disk(bytes_in(database.parent)),
        headers=headers or {},
    )


def _takes_traces(address: str) -> bool:
    headers = {"content-type": "application/x-protobuf"}
    try:
        return httpx.post(f"{address}/v1/traces", content=b"", headers=headers).is_success
    except httpx.HTTPError:
        return False


COLLECTOR: Final = Alternative(
    "OpenTelemetry Collector, ClickHouse",
    f"Collector and ClickHouse exporter {_COLLECTOR_VERSION}, into the engine of Dimwatch's store through the same "
    "HTTP interface; defaults, with batches of 5,000 rows in the exporter's queue as its README recommends",
    "is in memory",
    "nothing: it stores spans, and queries and alerts are yours to write",
    _collector,
)
PHOENIX: Final = Alternative(
    "Arize Phoenix",
    f"arize-phoenix {_PHOENIX}, `phoenix serve` with its default, SQLite; "
    "its documentation recommends PostgreSQL for production, which was not measured",
    "is in memory",
    "nothing by itself: verdicts are annotations of evaluators that you set up, and of people",
    _phoenix,
)
MLFLOW: Final = Alternative(
    "MLflow",
    f"mlflow {_MLFLOW}, `mlflow server` with its defaults, SQLite and four workers; "
    "its documentation recommends a scalable SQL database for production, which was not measured",
    "is on disk",
    "nothing by itself: verdicts are assessments of scorers that you register, and of people",
    _mlflow,
)
