"""Dimwatch as it runs on many machines, on this one: each role a process by itself, Kafka between, ClickHouse behind.

The ClickHouse server is the embedded store of an installation of its own, with nothing to sink, behind a proxy that can
be away or slow. Processes that end are started again, as an orchestrator does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from benchmarks.ports import free_ports
from benchmarks.proxy import Proxy
from benchmarks.running import until
from dimwatch import records
from dimwatch.app.standalone import PORTS
from dimwatch.app.worker import GROUP as WORKER
from dimwatch.cli import COMMANDS
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import Consumer
from dimwatch.settings import Settings
from dimwatch.store.sink import GROUP as STORE
from dimwatch.store.sink import TABLES
from tests.kafka_broker import Broker

SERVER: Final = "clickhouse"
"""The process that stands in for a ClickHouse server."""

ROLES: Final = tuple(role for role in PORTS if role in COMMANDS)
_HOST: Final = "127.0.0.1"
_ACCOUNT: Final = {"store__user": "dimwatch", "store__password": "only-here"}
_MOST_PROCESSES: Final = 200
"""Over the life of an installation, workers that come and go included."""
_AGAIN_S: Final = 0.3
_LOOK_S: Final = 0.1
_DRAIN_LOOK_S: Final = 0.5


@dataclass(slots=True)
class Process:
    """One process, over all of its restarts."""

    name: str
    role: str
    health_port: int
    environment: Mapping[str, str]
    wanted: bool = True
    popen: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    """Statuses with which it has ended without being asked to."""


class Roles:
    """One installation, running while the `with` block does, on a broker that somebody else started."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        *,
        workers: int = 2,
        roles: Sequence[str] = ROLES,
        settings: Mapping[str, str] | None = None,
        wrap: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`settings` are more `DIMWATCH_` variables, without the prefix; `wrap` are words before the command of a
        process, by its name."""
        self._folder = folder
        self._roles = roles
        self._wrap = dict(wrap or {})
        self._workers = workers
        names = ("receiver__grpc_port", "receiver__http_port", "dashboard__port", "api__port")
        # At once: one that is asked for later may be one of these, which nobody listens on yet.
        grpc, http, dashboard, api, self._clickhouse, *self._health_ports = free_ports(5 + _MOST_PROCESSES)
        self.proxy = Proxy(self._clickhouse)
        self.grpc, self.http = f"{_HOST}:{grpc}", f"http://{_HOST}:{http}"
        self._given = (
            dict(zip(names, map(str, (grpc, http, dashboard, api)), strict=True))
            | {
                "eventlog__backend": "kafka",
                "eventlog__kafka__bootstrap_servers": broker.address,
                "eventlog__kafka__partitions": "4",
                "eventlog__kafka__session_timeout_s": "6",
                "store__mode": "server",
                "store__http_port": str(self.proxy.port),
                # A drain waits for every trace, also for those whose root never comes.
                "assembly__idle_s": "10",
                "assembly__max_idle_s": "15",
                "detection__lateness_s": "5",
            }
            | _ACCOUNT
            | dict(settings or {})
        )
        self.processes: dict[str, Process] = {}
        self._client = httpx.Client(timeout=30.0)
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        server = {"eventlog__backend": "sqlite", "store__http_port": str(self._clickhouse), "store__mode": "embedded"}
        self._start(SERVER, "store", self._given | server)
        for role in self._roles:
            if role == "worker":
                for number in range(1, self._workers + 1):
                    self.add_worker(number)
            else:
                self._start(role, role, self._given)
        self._keeper.start()
        try:
            until(lambda: all(map(self.ready, self.processes)), 240.0, f"not all roles are ready: {self._folder}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._keeper.join()
        for process in self.processes.values():
            if process.popen is not None:
                process.popen.kill()
                process.popen.wait()
        self._client.close()
        self.proxy.__exit__(kind, error, trace)

    def add_worker(self, number: int) -> None:
        """Start one more worker."""
        self._start(f"worker-{number}", "worker", self._given)

    def settings(self) -> Settings:
        """The settings that the roles run with."""
        nested: dict[str, Any] = {}
        for name, value in self._given.items():
            *path, key = name.split("__")
            branch = nested
            for part in path:
                branch = branch.setdefault(part, {})
            branch[key] = value
        return Settings(data=self._folder / "own", **nested)

    def ready(self, name: str) -> bool:
        """Whether the process says that it does its work."""
        try:
            address = f"http://{_HOST}:{self.processes[name].health_port}/readyz"
            return self._client.get(address, timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, name: str, patience_s: float = 300.0) -> float:
        """`kill -9`; return the seconds until its successor is ready."""
        process = self.processes[name]
        old = process.popen
        assert old is not None
        old.send_signal(signal.SIGKILL)
        old.wait()
        return until(
            lambda: process.popen is not old and process.popen is not None and self.ready(name),
            patience_s,
            f"{name} did not come back",
        )

    def remove(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a process for good."""
        process = self.processes.pop(name)
        process.wanted = False
        assert process.popen is not None
        process.popen.send_signal(number)
        process.popen.wait(180)

    def stop(self) -> None:
        """End all but the store, in the order of the flow."""
        for name in [name for name in self.processes if name != SERVER]:
            self.remove(name)

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query to the store itself, not by the proxy."""
        form = "default_format=JSONCompactEachRow&output_format_json_quote_64bit_integers=0"
        address = f"http://{_HOST}:{self._clickhouse}/?database=dimwatch&{form}"
        answer = self._client.post(address, content=sql.encode(), timeout=60.0)
        assert answer.status_code != 400, answer.text
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def metric(self, name: str, role: str = "", **labels: str) -> float:
        """Sum of all samples of a metric that carry these labels, over the processes (of a role) that there are now."""
        total = 0.0
        for process in list(self.processes.values()):
            if role and process.role != role:
                continue
            text = self._client.get(f"http://{_HOST}:{process.health_port}/metrics").text
            for line in text.splitlines():
                sample, _, value = line.rpartition(" ")
                if sample.partition("{")[0] == name and all(f'{key}="{at}"' in sample for key, at in labels.items()):
                    total += float(value)
        return total

    def drain(self, timeout_s: float = 240.0) -> float:
        """Wait until all that was acknowledged is judged and in the store; return the seconds that it took."""

        def drained() -> bool:
            try:
                return not self.metric("dimwatch_open_traces", "worker") and not self._behind(worker, store)
            except httpx.HTTPError:
                return False

        def twice() -> bool:  # between two stages nothing is behind for a moment
            if not drained():
                time.sleep(_DRAIN_LOOK_S)
                return False
            time.sleep(2.0)
            return drained()

        with self._groups() as (worker, store):
            return until(twice, timeout_s, "it did not drain")

    def stored(self, timeout_s: float) -> float:
        """Wait until the sink has stored all spans, traces and observations; return the seconds that it took."""
        with closing(open_eventlog(self.settings())) as eventlog:
            sink = eventlog.consumer(STORE, [records.SPANS, records.TRACES, records.OBSERVATIONS])
            return until(lambda: not self._behind(sink), timeout_s, "it was not stored")

    @contextmanager
    def _groups(self) -> Iterator[tuple[Consumer, Consumer]]:
        """Workers and the sink, to be asked for their lag."""
        eventlog = open_eventlog(self.settings())
        try:
            yield eventlog.consumer(WORKER, ["otlp_spans", "otlp_logs"]), eventlog.consumer(STORE, list(TABLES))
        finally:
            eventlog.close()

    @staticmethod
    def _behind(*groups: Consumer) -> int:
        return sum(lag.records for group in groups for lag in group.lag().values())

    def exits(self) -> dict[str, list[int]]:
        """How processes have ended by themselves, where they have."""
        return {name: process.exits for name, process in self.processes.items() if process.exits}

    def _start(self, name: str, role: str, given: Mapping[str, str]) -> None:
        port = self._health_ports.pop()
        own = dict(given) | {"data": str(self._folder / name), "telemetry__log_format": "json"}
        environment = os.environ | {f"DIMWATCH_{key.upper()}": value for key, value in own.items()}
        process = self.processes[name] = Process(name, role, port, environment)
        self._launch(process)

    def _launch(self, process: Process) -> None:
        command = [*self._wrap.get(process.name, ()), sys.executable, "-P", "-m", "dimwatch", process.role]
        command += ["--health-port", str(process.health_port)]
        with (self._folder / f"{process.name}.log").open("ab") as log:
            process.popen = subprocess.Popen(
                command, env=dict(process.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _keep(self) -> None:
        """Start again what has ended."""
        while not self._ending.wait(_LOOK_S):
            for process in list(self.processes.values()):
                status = process.popen.poll() if process.popen is not None else None
                if status is None or not process.wanted:
                    continue
                if status != -signal.SIGKILL:
                    process.exits.append(status)
                    if self._ending.wait(_AGAIN_S):
                        return
                if process.wanted and process.name in self.processes:
                    self._launch(process)
