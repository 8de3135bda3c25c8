"""How long the dashboard's queries take on a store of many spans: milliseconds, rows read, what plans leave out.

    python -m benchmarks.queries                       10 million spans over the last day
    python -m benchmarks.queries --spans 1000000 --days 7 --range 7d

The rows are made by the engine itself (no pipeline), as a fleet of 40 agents sends them: eight spans a trace, four of
them model calls and three tool calls, with payloads, and the windows of every series by the minute and the hour. The
store is a process of its own, as in production; its caches are warm from the second repetition on. The fastest and the
slowest are told, and how much the store computed at least, over all of its threads. Exit status 1: some query took
longer than --limit-ms.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final

from benchmarks.ports import free_ports
from dashboard import health, incidents, queries, reach, source
from dashboard.queries import View
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from dimwatch.store.rollup import HOURS, RollUp

_AT_ONCE: Final = 1_000_000
_PATIENCE_S: Final = 120.0
_MODEL: Final = (
    "model_error", "model_retried", "model_truncated", "model_mismatch", "model_first_token", "model_speed",
    "model_latency",
)  # fmt: skip
_TOOL: Final = (
    "tool_error", "tool_silent_failure", "tool_empty", "tool_invalid", "tool_latency", "tool_result_size",
)  # fmt: skip
_RUN: Final = ("run_failed", "run_degraded", "run_rescued", "run_looped", "run_latency", "run_steps", "run_cost")


def main() -> int:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=1.0, help="the spans are spread over so many days")
    parser.add_argument("--range", default="24h", choices=list(queries.RANGES), help="time range that is looked at")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit-ms", type=float, default=0.0, help="fail above this; 0: never")
    parser.add_argument("--data", type=Path, help="keep the store here, or take the one that is here")
    args = parser.parse_args()
    folder = args.data or Path(tempfile.mkdtemp(prefix="dimwatch-queries-"))
    (port,) = free_ports(1)
    settings = Settings(data=folder, store=Store(http_port=port))
    environment = os.environ | {"DIMWATCH_DATA": str(folder), "DIMWATCH_STORE__HTTP_PORT": str(port)}
    environment["DIMWATCH_TELEMETRY__HEALTH_PORT"] = "0"
    process = subprocess.Popen([sys.executable, "-m", "dimwatch", "store"], env=environment)
    try:
        _await(f"http://127.0.0.1:{port}/ping", process)
        client = StoreClient(settings, writer=True, timeout_s=600)
        now_ns = SystemClock().now_ns()
        if not client.rows("SELECT count() FROM span_versions")[0][0]:
            _fill(client, args.spans, datetime.fromtimestamp(now_ns // NS_PER_SECOND, UTC), args.days)
        newest = client.rows("SELECT max(start_time) FROM run_versions")[0][0].replace(tzinfo=UTC)
        view = View.of(args.range, int(newest.timestamp()) * NS_PER_SECOND)
        return _ask(client, view, args.repeat, args.limit_ms, process.pid)
    finally:
        process.terminate()
        process.wait(60)
        if args.data is None:
            shutil.rmtree(folder, ignore_errors=True)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _fill(client: StoreClient, spans: int, now: datetime, days: float) -> None:
    values = {"since": now - timedelta(days=days), "seconds": days * 24 * 3600, "spans": spans}
    began = time.monotonic()
    for name in ("spans", "traces", "observations"):
        sql = _sql(name)
        for begin in range(0, spans, _AT_ONCE):
            client.rows(sql, {**values, "begin": begin, "end": min(begin + _AT_ONCE, spans)})
    for width_s in (60, 3600):
        client.rows(_sql("windows"), {**values, "width_s": width_s})
    print(f"made {spans:,} spans over {days:g} days in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    sums = RollUp(client)
    for _ in range(math.ceil(days * 24 / HOURS) + 1):
        sums.run()
    print(f"summed up in {time.monotonic() - began:.1f} s", flush=True)


def _sql(name: str) -> str:
    return files("benchmarks").joinpath("query_rows", f"{name}.sql").read_text()


def _values(view: View, client: StoreClient) -> dict[str, dict[str, object]]:
    """What pages bind to each query, by its name and maybe a word of what it is about."""
    trace_id, conversation, at = client.rows(
        "SELECT trace_id, conversation_id, start_time FROM run_versions ORDER BY start_time DESC LIMIT 1"
    )[0]
    scope = dict.fromkeys(incidents.SCOPE, "")
    minute = timedelta(minutes=1)
    common: dict[str, object] = {
        **view.values(before=view.before, width_s=view.width_s, step=int(view.step.total_seconds())),
        **scope, "tenant": "", "rows": 300, "rule": "", "severity": "", "class": "", "text": "", "order": "",
        "kind": "", "about": "", "dimension": "agent", "id": "0" * 16, "trace_id": trace_id, "span_id": "0" * 16,
        "trace_ids": [trace_id], "agents": [], "outcomes": ["ok"], "measure": "", "target": 1.0,
        "signal": "model_error", "signals": list(_MODEL), **{f"by_{name}": name == "model" for name in health.NAMES},
    }  # fmt: skip
    hour = {"since": max(view.since, view.until - timedelta(hours=1))}
    shared = {"since": max(view.since, view.until - reach.LOOKED_BACK)}
    during = {"since": view.until - 30 * minute, "until": view.until}
    return dict.fromkeys(source.names(), common) | {
        "coverage": common | hour,
        "shared_entities": common | shared,
        "conversation": common | {"id": conversation, "since": at},
        "said": common | {"since": at},
        "histogram": common | {"signals": ["model_latency", "tool_latency"]},
        "incident_tail": common | {"signal": "model_latency"},
        "example_calls": common | during | {"kind": "llm", "measure": "duration", "target": 1e15},
        "example_runs": common | during | {"agents": ["agent 1"], "measure": "duration", "target": 1e15},
        "example_findings": common | during | {"rule": "tool_error"},
        "pages": common | {"since": view.until - queries.WEEK},
        "canary": common | {"since": view.until - timedelta(days=1)},
        "lag": common | hour,
        "model_spend one agent": common | {"agent": "agent 1"},
        "spend one agent": common | {"agent": "agent 1"},
        "shared_entities one agent": common | shared | {"agent": "agent 1"},
    }


def _cpu_ms(pid: int) -> float:
    """Time that all threads of a process have computed; on a machine that others use it says more than the clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(client: StoreClient, view: View, repeat: int, limit_ms: float, store_pid: int) -> int:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; time range {view.length}, and as long before it")
    print(f"{'query':26}{'fastest ms':>12}{'slowest ms':>12}{'cpu ms':>9}{'rows read':>14}{'granules':>16}")
    slow = []
    for name, values in sorted(_values(view, client).items()):
        sql, took, computed = source.sql(name.split()[0]), [], []
        for _ in range(repeat):
            began, cpu = time.perf_counter(), _cpu_ms(store_pid)
            client.rows(sql, values)
            took.append(1000 * (time.perf_counter() - began))
            computed.append(_cpu_ms(store_pid) - cpu)
        plan = client.rows(f"EXPLAIN indexes = 1 {sql}", values)
        granules = [line[0].split(":")[1].strip() for line in plan if line[0].strip().startswith("Granules:")]
        estimate = client.rows(f"EXPLAIN ESTIMATE {sql}", values)
        rows = sum(row[3] for row in estimate)
        read = f"{rows:14,}{granules[-1] if granules else '':>16}"
        print(f"{name:26}{min(took):12.0f}{max(took):12.0f}{min(computed):9.0f}{read}", flush=True)
        if limit_ms and min(took) > limit_ms:
            slow.append(name)
    if slow:
        print(f"longer than {limit_ms:g} ms: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
