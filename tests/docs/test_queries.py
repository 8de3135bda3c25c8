"""The queries of docs/tables.md run, on a store that holds what a small simulated fleet sent."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from dimwatch import records
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.simulate.faults import DEFAULT_SHARES
from dimwatch.simulate.fleet import Fleet
from dimwatch.simulate.options import scenario
from dimwatch.store.client import StoreClient
from dimwatch.store.sink import TABLES
from ingest.normalize import Request
from tests.docs.generated import DOCS, ROOT

PATIENCE_S = 60.0
_PAGE = (DOCS / "tables.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", _PAGE, flags=re.DOTALL)
_BOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "dimwatch.json").read_text(encoding="utf-8"))
_ANNOTATIONS = [(item["name"], item["target"]["rawSql"]) for item in _BOARD["annotations"]["list"]]
PANELS = _ANNOTATIONS + [
    (panel["title"], target["rawSql"])
    for panel in _BOARD["panels"]
    for target in panel["targets"]
    if "rawSql" in target
]
_MACROS = {"$__fromTime": "toDateTime(now() - 3600)", "$__toTime": "toDateTime(now() + 60)", "$__interval_s": "60"}
"""What Grafana's ClickHouse plug-in makes of its words, for the last hour in steps of a minute."""
TITLES = re.findall(r"\n\n([^\n|#]+):\n\n```sql", _PAGE)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreClient]:
    """A client without an account, of a store that holds a quarter of an hour of a fleet."""
    with _store(tmp_path_factory.mktemp("queries")) as settings:
        writer = StoreClient(settings, writer=True)
        outputs = list(_fleet())
        for topic, tables in (
            (records.SPANS, [table for output in outputs for table in output.spans]),
            (records.TRACES, [table for output in outputs for table in output.traces]),
            (records.OBSERVATIONS, [table for output in outputs for table in output.observations]),
        ):
            writer.insert(TABLES[topic], pa.concat_tables(tables))
        writer.close()
        client = StoreClient(settings)
        yield client
        client.close()


class _store:
    """A store process; the settings that reach it."""

    def __init__(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self._settings = Settings(data=data, store=Store(http_port=port))

    def __enter__(self) -> Settings:
        port = self._settings.store.http_port
        environment = os.environ | {
            "DIMWATCH_DATA": str(self._settings.data),
            "DIMWATCH_STORE__HTTP_PORT": str(port),
        }
        self._process = subprocess.Popen([sys.executable, "-P", "-m", "dimwatch", "store"], env=environment)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                return self._settings
            except OSError:
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def _fleet() -> Iterator[Output]:
    end = SystemClock().now_ns()
    start = end - 900 * NS_PER_SECOND
    pipeline = Pipeline(Settings(data=Path("unused")))
    fleet = Fleet(7, start, end, 0.5, dict(DEFAULT_SHARES), scenario(start, ()))
    held: dict[str, list[Request]] = {"traces": [], "logs": []}
    for number, export in enumerate(fleet.requests()):
        held[export.signal].append(Request(export.body, export.due_ns))
        if sum(map(len, held.values())) == 100:
            yield pipeline.add(held["traces"], held["logs"], now_ns=export.due_ns, record=number)
            held = {"traces": [], "logs": []}
    yield pipeline.add(held["traces"], held["logs"], now_ns=end, record=1 << 30)
    yield pipeline.flush()


def test_there_are_ten_with_a_title_each() -> None:
    assert len(QUERIES) == len(TITLES) == 10


@pytest.mark.parametrize("query", QUERIES, ids=TITLES)
def test_it_runs_and_finds_something(query: str, reader: StoreClient) -> None:
    answer = reader.text(query, "TabSeparatedWithNames").decode()
    assert len(answer.splitlines()) > 1, answer


@pytest.mark.parametrize(("title", "query"), PANELS, ids=[title for title, _ in PANELS])
def test_a_panel_of_grafana_runs(title: str, query: str, reader: StoreClient) -> None:
    for word, meaning in _MACROS.items():
        query = query.replace(word, meaning)
    assert "$" not in query, "a word of Grafana's that this test does not know"
    answer = reader.text(query, "TabSeparatedWithNames").decode().splitlines()
    assert answer
    if title in ("Green but failed", "Runs"):
        assert float(answer[1]) > 0, "the simulated fleet fails while its spans are green"


def test_the_accounts_of_a_server_are_in_clickhouses_own_words(reader: StoreClient) -> None:
    """The embedded engine has no accounts; its parser is that of a server."""
    text = (ROOT / "deploy" / "clickhouse" / "users.sql").read_text(encoding="utf-8")
    statements = re.sub(r"^ *--.*$", "", text, flags=re.MULTILINE).split(";")
    told = [statement.strip() for statement in statements if statement.strip()]
    assert len(told) == 9
    for statement in told:
        quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
        assert reader.text(f"SELECT formatQuery('{quoted}')", "TabSeparated").decode().strip()


def test_every_row_is_seen_once_however_often_it_is_written(reader: StoreClient) -> None:
    """The guarantee of the page: the arrival row and the corrected one of a span are one row."""
    versions = int(reader.text("SELECT count() FROM span_versions", "TabSeparated"))
    seen = int(reader.text("SELECT count() FROM spans", "TabSeparated"))
    distinct = int(reader.text("SELECT uniqExact(trace_id, span_id) FROM span_versions", "TabSeparated"))
    assert versions >= seen == distinct > 0
