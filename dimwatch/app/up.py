"""Dimwatch on one machine: which processes there are, in which order they start and end, and what is told."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import webbrowser
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import structlog

from dimwatch import telemetry
from dimwatch.app import demo, endpoint, health
from dimwatch.app.configuration import as_environment, variable
from dimwatch.app.instance import locked, note, run_folder
from dimwatch.app.metrics import VARIABLE, Flow, MergedMetrics
from dimwatch.app.ports import ports_of, problem, reachable_host
from dimwatch.app.processes import Usage, usage
from dimwatch.app.standalone import HEALTH_PORT
from dimwatch.app.supervisor import Process, Role, Supervisor
from dimwatch.clock import SystemClock
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings
from dimwatch.store.client import tls_context

SIMULATE: Final = "simulate"
_INCIDENTS: Final = """\
SELECT id, argMin(kind, version), argMin(summary, version) FROM incidents
WHERE opened_at >= fromUnixTimestamp64Nano(toInt64({since})) GROUP BY id ORDER BY min(opened_at), id
"""
_SAMPLE_S: Final = 5.0
_PORT_PATIENCE_S: Final = 3.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked of `dimwatch up` beside the settings."""

    demo: bool = False
    open_browser: bool = False


def roles(settings: Settings, *, demo_ns: int | None = None) -> list[Role]:
    """The processes, in the order of the flow, which is the order in which they are drained. `demo_ns`: when a demo
    starts."""
    receiver, dashboard = settings.receiver, settings.dashboard
    embedded = settings.store.mode == "embedded"
    stored = health.store(settings) if embedded else health.heartbeat(settings.data, "store")
    flow = [
        Role(
            "collector",
            _role_command("collector"),
            health.tcp(receiver.host, receiver.grpc_port, receiver.http_port),
        ),
        Role("worker", _role_command("worker"), health.heartbeat(settings.data, "worker")),
        Role(
            "fleet",
            _role_command("fleet", *([] if demo_ns is None else ["--demo"])),
            health.heartbeat(settings.data, "fleet"),
        ),
        *_notifier(settings),
        Role("store", _role_command("store"), stored, grace_s=20.0),
        Role(
            "api",
            _role_command("api"),
            health.http(settings.api.host, settings.api.port, "/healthz"),
            after="store",
            grace_s=8.0,
        ),
        Role(
            "dashboard",
            _role_command("dashboard"),
            health.http(dashboard.host, dashboard.port, "/_stcore/health"),
            after="store",
            grace_s=3.0,
        ),
    ]
    if demo_ns is not None:
        target = f"http://{reachable_host(receiver.host)}:{receiver.http_port}"
        flow.insert(
            0,
            Role(
                SIMULATE,
                _command(SIMULATE, "--endpoint", target, *demo.words(demo_ns)),
                health.always,
                after="collector",
                grace_s=3.0,
                log=run_folder(settings.data) / f"{SIMULATE}.log",  # its progress would disturb what is told here
            ),
        )
    return flow


def _notifier(settings: Settings) -> list[Role]:
    """The notifier, where somebody is to be told. It ends when what is on its way has arrived or run out of time."""
    if not settings.notify.targets:
        return []
    ready = health.heartbeat(settings.data, "notifier")
    return [Role("notifier", _role_command("notifier"), ready, grace_s=settings.notify.timeout_s + 5.0)]


def run(settings: Settings, options: Options, say: Say) -> int:
    """Run Dimwatch until it is told to stop; return the exit status.

    Raises PermanentError when the data folder or a port is not to be had.
    """
    if options.demo and settings.receiver.tls_cert is not None:
        raise PermanentError(
            "the demo sends in plain text: leave out --demo, or receiver.tls_cert and receiver.tls_key"
        )
    with locked(settings):
        _require_ports(settings)
        metrics = MergedMetrics(settings.data)
        note(settings)
        return asyncio.run(_run(settings, options, metrics, say))


async def _run(settings: Settings, options: Options, metrics: MergedMetrics, say: Say) -> int:
    def ended(role: Role) -> None:
        health.forget_heartbeat(settings.data, role.name)
        metrics.fold_the_dead()

    start_ns = SystemClock().now_ns() if options.demo else None
    wanted = roles(settings, demo_ns=start_ns)
    for role in wanted:
        health.forget_heartbeat(settings.data, role.name)
    environment = as_environment(settings, os.environ) | {VARIABLE: str(metrics.folder), variable(HEALTH_PORT): "0"}
    supervisor = Supervisor(wanted, environment, on_exit=ended)
    overview = _Overview(settings, supervisor, Flow(metrics))
    door = endpoint.Door(settings.telemetry.metrics_port, "choose another with --metrics-port (telemetry.metrics_port)")
    with endpoint.served(door, metrics.exposition, overview.states, overview.status):
        side = [
            asyncio.create_task(_logged(overview.keep_measuring())),
            asyncio.create_task(_logged(_announce(supervisor, settings, options, start_ns, say))),
        ]
        try:
            return await supervisor.run()
        finally:
            for task in side:
                task.cancel()
            await asyncio.wait(side)


class _Overview:
    """What the supervisor knows of its processes, for `/status`, `/readyz` and the metrics."""

    def __init__(self, settings: Settings, supervisor: Supervisor, flow: Flow) -> None:
        self._data = settings.data
        self._supervisor = supervisor
        self._flow = flow
        self._started = time.monotonic()
        self._usage: dict[int, Usage] = {}

    def states(self) -> dict[str, str]:
        return {process.role.name: process.state for process in self._supervisor.processes}

    def status(self) -> endpoint.Status:
        return {
            "version": metadata.version("dimwatch"),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "data": str(self._data),
            "flow": self._flow.rates(),
            "processes": [self._describe(process) for process in self._supervisor.processes],
        }

    async def keep_measuring(self) -> None:
        while True:
            self._flow.sample()
            self._usage = usage([process.pid for process in self._supervisor.processes if process.pid])
            for process in self._supervisor.processes:
                used = self._usage.get(process.pid or 0, Usage())
                telemetry.PROCESS_RESIDENT_BYTES.labels(process.role.name).set(used.resident_bytes)
                telemetry.PROCESS_CPU_SECONDS.labels(process.role.name).set(used.cpu_s)
            await asyncio.sleep(_SAMPLE_S)

    def _describe(self, process: Process) -> dict[str, object]:
        used = self._usage.get(process.pid or 0, Usage())
        return {
            "process": process.role.name,
            "state": process.state,
            "since_s": round(process.seconds_in_state(), 1),
            "pid": process.pid,
            "restarts": process.restarts,
            "last_exit": process.last_exit,
            "resident_bytes": used.resident_bytes,
            "cpu_s": round(used.cpu_s, 2),
        }


def _command(*words: str) -> tuple[str, ...]:
    # -P: a folder named `dashboard` or `detectors` where the user happens to be must not be imported for ours.
    return (sys.executable, "-P", "-m", "dimwatch", *words)


def _role_command(role: str, *more: str) -> tuple[str, ...]:
    # All settings are in the environment by now; a settings file could only contradict them.
    return _command(role, "--config", os.devnull, *more)


def _require_ports(settings: Settings) -> None:
    """Raise PermanentError for ports that are taken; a Dimwatch just killed frees its own in a moment."""
    deadline = time.monotonic() + _PORT_PATIENCE_S
    while True:
        problems = [found for port in ports_of(settings) if (found := problem(port))]
        if not problems:
            return
        if time.monotonic() > deadline:
            raise PermanentError("\n".join(problems))
        time.sleep(0.1)


async def _announce(
    supervisor: Supervisor, settings: Settings, options: Options, demo_ns: int | None, say: Say
) -> None:
    """Tell where everything is as soon as it answers, and in a demo what there is to see."""
    started = time.monotonic()
    for process in supervisor.processes:
        await process.ready.wait()
    say(f"Dimwatch is ready after {time.monotonic() - started:.1f} s.\n\n{addresses(settings)}\n")
    page = dashboard_url(settings)
    if options.open_browser:
        await asyncio.to_thread(webbrowser.open, page)
    if demo_ns is None:
        return
    say("A simulated fleet of agents is sending traces; some of them fail while everything stays green.")
    found = 0
    while not found:
        await asyncio.sleep(1.0)
        found = sum(count for (count,) in await _rows(settings, "SELECT count() FROM observations"))
    say(f"The first {found} findings are visible after {time.monotonic() - started:.0f} s: {page}\n")
    say(f"Faults of the fleet will follow, and incidents about three minutes after each:\n{demo.programme(demo_ns)}\n")
    told: set[str] = set()
    while True:
        await asyncio.sleep(2.0)
        for name, kind, summary in await _rows(settings, _INCIDENTS.format(since=demo_ns)):
            if name not in told:
                told.add(name)
                after = time.monotonic() - started
                say(f"Incident after {after / 60:.1f} minutes, {kind}: {summary}\n  {page}/incident?id={name}")


async def _rows(settings: Settings, sql: str) -> list[list[Any]]:
    """The rows of a query, none while the store does not answer."""
    store = settings.store
    form = {"default_format": "JSONCompactEachRow", "output_format_json_quote_64bit_integers": "0"}
    query = urlencode({"database": store.database, "query": sql, **form})
    headers = {"X-ClickHouse-User": store.user, "X-ClickHouse-Key": store.password.get_secret_value()}
    body = await health.get(store.host, store.http_port, f"/?{query}", headers, tls=tls_context(store))
    return [orjson.loads(line) for line in (body or b"").splitlines()]


async def _logged(work: Awaitable[None]) -> None:
    """Side work that fails is told, and ends nothing else."""
    try:
        await work
    except Exception:
        structlog.get_logger().exception("side work of the supervisor failed")


def dashboard_url(settings: Settings) -> str:
    """Where people look."""
    return f"http://{reachable_host(settings.dashboard.host)}:{settings.dashboard.port}"


def addresses(settings: Settings) -> str:
    """Where everything listens, for people."""
    receiver, store = reachable_host(settings.receiver.host), reachable_host(settings.store.host)
    scheme = "http" if settings.receiver.tls_cert is None else "https"
    store_scheme = "https" if settings.store.tls else "http"
    lines = {
        "Dashboard": dashboard_url(settings),
        "API": f"http://{reachable_host(settings.api.host)}:{settings.api.port}",
        "OTLP/HTTP": f"{scheme}://{receiver}:{settings.receiver.http_port}",
        "OTLP/gRPC": f"{scheme}://{receiver}:{settings.receiver.grpc_port}",
        "ClickHouse": f"{store_scheme}://{store}:{settings.store.http_port}   database {settings.store.database}",
        "Metrics": f"http://{endpoint.HOST}:{settings.telemetry.metrics_port}/metrics",
        "Data": str(settings.data),
    }
    return "\n".join(f"  {name:<11} {value}" for name, value in lines.items())
