"""What `dimwatch status` tells: processes, flow, lag, drops, disk and coverage, each as far as it can be asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families

from detectors.incidents import control
from dimwatch import records
from dimwatch.app import canary, endpoint, health
from dimwatch.app.coverage import Coverage, coverage
from dimwatch.app.instance import follow, running
from dimwatch.app.wellness import STAGES
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import DimwatchError
from dimwatch.eventlog.inspect import GroupLag, lags
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient

COVERAGE_S: Final = 3600
FLOW_S: Final = 60
DROPS_S: Final = 24 * 3600
_ANSWER_S: Final = 10.0
_KAFKA_S: Final = 20.0  # all questions to the brokers together


@dataclass(frozen=True, slots=True)
class Drop:
    """What was refused, cut or given up for one reason."""

    stage: str
    signal: str
    reason: str
    since_start: int  # from the metrics
    last_day: int  # from the store


@dataclass(slots=True)
class Status:
    """All that could be asked; `problems` says what is down and what could not be asked."""

    data: str
    problems: list[str] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)
    uptime_s: float = 0.0
    flow: dict[str, float] = field(default_factory=dict)  # spans a second by stage
    open_traces: int | None = None
    open_incidents: int | None = None
    watermark_lag_s: float | None = None  # age of the newest moment that all workers have judged
    canary_s: float | None = None  # what the last span that Dimwatch sent to itself took to be readable
    canary_age_s: float | None = None  # how long ago that was
    clocks_set_back: int = 0  # since the start: times that a watermark went back
    lags: list[GroupLag] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    findings: dict[str, int] = field(default_factory=dict)
    disk_bytes: dict[str, int] = field(default_factory=dict)
    coverage: list[Coverage] | None = None  # None: could not look


def look(settings: Settings) -> Status:
    """Ask the supervisor, the eventlog, the disk and the store."""
    status = Status(str(settings.data))
    followed = follow(settings)
    counted = asyncio.run(_ask_supervisor(followed, status))
    try:
        status.lags = _lags(settings)
    except (DimwatchError, sqlite3.Error) as error:
        status.problems.append(str(error))
    status.disk_bytes = {
        "eventlog": _size(settings.eventlog_path.parent),
        "store": _size(settings.store_path),
        "all": _size(settings.data),
    }
    _ask_store(followed, status, counted)
    return status


def _lags(settings: Settings) -> list[GroupLag]:
    if settings.eventlog.backend == "sqlite":
        return lags(settings.eventlog_path)
    groups = dict(STAGES)
    if settings.notify.targets:
        groups["notifier"] = (records.INCIDENTS,)
    if settings.canary.enabled:
        groups[canary.GROUP] = (control.TOPIC,)
    # The client takes 0.3 s to import, which embedded commands need not wait for.
    from dimwatch.eventlog import kafka_inspect

    return kafka_inspect.lags(settings.eventlog.kafka, groups, timeout_s=_KAFKA_S)


async def _ask_supervisor(settings: Settings, status: Status) -> dict[tuple[str, str, str], int]:
    """Fill in what the supervisor knows; return what was dropped since the start."""
    if running(settings.data) is None:
        status.problems.append(f"Dimwatch is not running on {settings.data}: start it with `dimwatch up`")
        return {}
    port = settings.telemetry.metrics_port
    told, metrics = await asyncio.gather(
        health.get(endpoint.HOST, port, "/status", timeout_s=_ANSWER_S),
        health.get(endpoint.HOST, port, "/metrics", timeout_s=_ANSWER_S),
    )
    if told is None or metrics is None:
        status.problems.append(f"the supervisor does not answer on port {port}: see its log")
        return {}
    answer = orjson.loads(told)
    status.processes, status.flow = answer["processes"], answer["flow"]
    status.uptime_s = answer["uptime_s"]
    for process in status.processes:
        if process["state"] != "ready":
            exit_ = f", last exit {process['last_exit']}" if process["last_exit"] else ""
            status.problems.append(f"{process['process']} is {process['state']}{exit_}: see its log")
    dropped = _read_metrics(metrics.decode(), status)
    unseen_s = status.uptime_s if status.canary_age_s is None else status.canary_age_s
    if canary.possible(settings) and unseen_s > settings.canary.blind_after_s:
        status.problems.append(
            f"Dimwatch is blind: no canary has arrived for {unseen_s:,.0f} s; lag, and the logs of the processes, say "
            "where it is lost"
        )
    return dropped


def _read_metrics(text: str, status: Status) -> dict[tuple[str, str, str], int]:
    dropped: dict[tuple[str, str, str], int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "dimwatch_open_traces":
                status.open_traces = int(sample.value)
            elif sample.name == "dimwatch_open_incidents":
                status.open_incidents = int(sample.value)
            elif sample.name == "dimwatch_watermark_lag_seconds":
                status.watermark_lag_s = round(sample.value, 1)
            elif sample.name == "dimwatch_clock_set_back_total":
                status.clocks_set_back = int(sample.value)
            elif sample.name == "dimwatch_canary_seconds":
                status.canary_s = round(sample.value, 2)
            elif sample.name == "dimwatch_canary_seen_timestamp_seconds" and sample.value:
                status.canary_age_s = round(SystemClock().now_ns() / NS_PER_SECOND - sample.value, 1)
            elif sample.name == "dimwatch_dropped_total" and sample.value:
                dropped[labels["stage"], labels["signal"], labels["reason"]] = int(sample.value)
    return dropped


def _ask_store(settings: Settings, status: Status, counted: dict[tuple[str, str, str], int]) -> None:
    stored: dict[tuple[str, str, str], int] = {}
    client = StoreClient(settings, timeout_s=_ANSWER_S)
    try:
        health.require_store(settings)
        stored = {(row[0], row[1], row[2]): int(row[3]) for row in _rows(client, "drops", DROPS_S)}
        status.flow["visible"] = round(_rows(client, "visible", FLOW_S)[0][0] / FLOW_S, 2)
        status.findings = {row[0]: int(row[2]) for row in _rows(client, "findings", COVERAGE_S)}
        status.coverage = [coverage(row) for row in _rows(client, "coverage", COVERAGE_S)]
    except DimwatchError as error:
        status.problems.append(f"coverage and stored drops are unknown: {error}")
    finally:
        client.close()
    status.drops = [
        Drop(*key, since_start=counted.get(key, 0), last_day=stored.get(key, 0))
        for key in sorted(counted.keys() | stored.keys())
    ]


def _rows(client: StoreClient, name: str, seconds: int) -> Sequence[Sequence[Any]]:
    sql = (files("dimwatch.app") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return client.rows(sql, {"seconds": seconds})


def _size(folder: Path) -> int:
    """Bytes on disk under a folder. Files come and go while it looks."""
    total = 0
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except OSError:
            continue
        total += found.st_blocks * 512
    return total
