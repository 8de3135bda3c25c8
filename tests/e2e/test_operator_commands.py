"""`dimwatch sql` and `dimwatch status` against a running store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from benchmarks.ports import free_ports
from dimwatch import records
from dimwatch.cli import main
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient

pytestmark = pytest.mark.e2e
NOW_NS = SystemClock().now_ns()


def row(schema: pa.Schema, **values: object) -> dict[str, object]:
    """A row of `schema` with these values, and nothing else said."""
    empty: dict[str, Any] = {"string": "", "bool": False, "double": 0.0}
    filled: dict[str, object] = {}
    for field in schema:
        if field.nullable:
            filled[field.name] = None
        elif pa.types.is_timestamp(field.type):
            filled[field.name] = NOW_NS
        elif pa.types.is_list(field.type) or pa.types.is_map(field.type):
            filled[field.name] = []
        else:
            filled[field.name] = empty.get(str(field.type), 0)
    return filled | values


def span(number: int, kind: str, agent: str, **values: object) -> dict[str, object]:
    trace = f"{agent:0<32.32}"
    return row(
        records.SPAN,
        trace_id=trace,
        span_id=f"{number:016x}",
        kind=kind,
        agent=agent,
        service="shop",
        counted=kind == "llm",
        **values,
    )


SPANS = [
    span(1, "llm", "open", output_tokens=3, finish_reason="stop", response_model="m", request_model="m"),
    span(2, "llm", "open", output_tokens=3, finish_reason="unknown", output_messages="[]"),
    span(3, "tool", "open", tool="find", tool_result="{}", tool_arguments="{}"),
    span(4, "tool", "closed", tool="find"),
]
TRACES = [row(records.TRACE, trace_id=f"{agent:0<32.32}", agent=agent) for agent in ("open", "closed")]
UNJUDGED = span(5, "tool", "running")
DROPS = [row(records.DROP, id="1", stage="decode", signal="spans", reason="bad_id", count=7)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    (port,) = free_ports(1)
    (folder / "dimwatch.toml").write_text(f"[store]\nhttp_port = {port}\n")
    command = [sys.executable, "-P", "-m", "dimwatch", "store", "--data", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        settings = Settings(data=folder)
        settings.store.http_port = port
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the store has ended"
            assert time.monotonic() < deadline, "the store does not start"
            time.sleep(0.05)
        client = StoreClient(settings, writer=True)
        client.insert("span_versions", records.table_from_rows(records.SPAN, [*SPANS, UNJUDGED]))
        client.insert("trace_versions", records.table_from_rows(records.TRACE, TRACES))
        client.insert("drop_versions", records.table_from_rows(records.DROP, DROPS))
        client.close()
        yield folder
    finally:
        process.terminate()
        process.wait(90)


def run(data: Path, *words: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(
        main, [words[0], "--data", str(data), *words[1:]], input=stdin, env=dict(env or os.environ)
    )


def test_sql_in_the_formats_that_people_and_programs_want(data: Path) -> None:
    query = "SELECT tool, count() AS calls FROM spans WHERE tool = 'find' GROUP BY tool;"
    assert run(data, "sql", query).output == "tool\tcalls\nfind\t2\n"
    assert run(data, "sql", query, "--format", "csv").output == '"tool","calls"\n"find",2\n'
    assert orjson.loads(run(data, "sql", query, "--format", "json").output)["rows"] == 1
    assert orjson.loads(run(data, "sql", query, "--format", "jsonl").output) == {"tool": "find", "calls": 2}
    assert "│ find │" in run(data, "sql", query, "--format", "table").output
    assert run(data, "sql", "SELECT 1 FORMAT TSV").output == "1\n"
    assert run(data, "sql", "-", stdin="SELECT 2").output == "2\n2\n"


def test_sql_binds_values_and_never_pastes_them(data: Path) -> None:
    hostile = "open' OR 1=1 --"
    query = "SELECT count() AS n FROM spans WHERE agent = {agent:String}"
    assert run(data, "sql", query, "--param", "agent=open").output == "n\n3\n"
    assert run(data, "sql", query, "--param", f"agent={hostile}").output == "n\n0\n"
    assert run(data, "sql", query, "--param", "agent").exit_code == 2


def test_sql_errors_are_messages(data: Path) -> None:
    outcome = run(data, "sql", "SELECT * FROM nothing")
    assert outcome.exit_code == 1
    assert "UNKNOWN_TABLE" in outcome.output
    assert "Traceback" not in outcome.output
    assert run(data, "sql", "DROP TABLE span_versions").exit_code == 1
    assert run(data, "sql", " ; ").exit_code == 2


def test_sql_without_a_store_names_the_remedy(tmp_path: Path, unused_port: int) -> None:
    (tmp_path / "dimwatch.toml").write_text(f"[store]\nhttp_port = {unused_port}\n")
    outcome = run(tmp_path, "sql", "SELECT 1")
    assert outcome.exit_code == 1
    assert "dimwatch up" in outcome.output


@pytest.fixture
def unused_port() -> int:
    return free_ports(1)[0]


def test_status_tells_which_rules_can_not_see_an_agent(data: Path) -> None:
    outcome = run(data, "status", "--json")
    assert outcome.exit_code == 1, "no supervisor runs here"
    report = orjson.loads(outcome.output)
    assert not report["ok"]
    assert "not running" in report["problems"][0]
    agents = {one["agent"]: one for one in report["coverage"]}
    assert agents.keys() == {"open", "closed"}, "a trace that goes on is not judged yet"
    assert agents["open"]["shares"]["finish_reason"] == 0.5
    assert agents["open"]["shares"]["tool_result"] == 1.0
    assert "silent_tool_failure" not in agents["open"]["blind"]
    assert "truncated_output" in agents["open"]["partly"]
    assert "silent_tool_failure" in agents["closed"]["blind"]
    assert agents["closed"]["sight"]["truncated_output"] is None, "it made no model call that could be judged"
    assert report["drops"] == [
        {"stage": "decode", "signal": "spans", "reason": "bad_id", "since_start": 0, "last_day": 7}
    ]
    assert report["disk_bytes"]["store"] > 0
    # Nothing but the store runs; on a slow machine the minute that the rate looks at may be over.
    assert report["flow"] in ({"visible": round((len(SPANS) + 1) / 60, 2)}, {"visible": 0.0})


def test_status_is_readable(data: Path) -> None:
    output = run(data, "status").output
    for part in ("not running", "bad_id", "Coverage", "closed: not visible to", "silent_tool_failure"):
        assert part in output


def test_status_without_a_store_says_that_it_could_not_look(tmp_path: Path, unused_port: int) -> None:
    (tmp_path / "dimwatch.toml").write_text(f"[store]\nhttp_port = {unused_port}\n")
    outcome = run(tmp_path, "status")
    assert outcome.exit_code == 1
    assert "could not look" in outcome.output
