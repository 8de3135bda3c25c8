"""A `dimwatch up` of its own, as people start it: free ports, its own folder, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from benchmarks.ports import free_ports
from dimwatch.app.fleet import GROUP as FLEET
from dimwatch.eventlog.inspect import lags
from dimwatch.settings import Settings

ROLES: Final = ("collector", "worker", "fleet", "store", "api", "dashboard")
_PORTS: Final = ("receiver__grpc_port", "receiver__http_port", "store__http_port", "api__port", "dashboard__port")
_HOST: Final = "127.0.0.1"


class Running:
    """One Dimwatch, running while the `with` block does. `settings` are more `DIMWATCH_` variables."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.log = folder / "up.log"
        self._folder = folder
        names = (*_PORTS, "telemetry__metrics_port")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._environment = os.environ | {f"DIMWATCH_{name.upper()}": str(port) for name, port in ports.items()}
        # A drain waits for every trace, also for those whose root never comes: by default that takes ten minutes.
        self._environment |= {"DIMWATCH_ASSEMBLY__IDLE_S": "30", "DIMWATCH_ASSEMBLY__MAX_IDLE_S": "30"}
        self._environment |= {f"DIMWATCH_{name.upper()}": value for name, value in (settings or {}).items()}
        self.grpc = f"{_HOST}:{ports['receiver__grpc_port']}"
        self.http = f"http://{_HOST}:{ports['receiver__http_port']}"
        self._store = f"http://{_HOST}:{ports['store__http_port']}"
        self._dashboard = f"http://{_HOST}:{ports['dashboard__port']}"
        self._supervisor = f"http://{_HOST}:{ports['telemetry__metrics_port']}"
        self._client = httpx.Client(timeout=30.0)
        self._process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        """What the first start of everything took: the pace of the machine."""

    def __enter__(self) -> Self:
        try:
            self.started_s = self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._client.close()
        until(lambda: not self._survivors(), 60.0, "processes survived their supervisor")

    def start(self) -> float:
        """Start, and wait until every process answers; return the seconds that it took."""
        command = [sys.executable, "-P", "-m", "dimwatch", "up", "--data", str(self.data), "--log-format", "json"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        return until(self._all_ready, 180.0, "Dimwatch did not start")

    def stop(self) -> float:
        """Ask it to drain (SIGTERM) and wait for the end; return the seconds that it took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(180)
        assert status == 0, f"`dimwatch up` ended with status {status}: {self.log}"
        return time.monotonic() - started

    def environment(self) -> dict[str, str]:
        """The environment of a command that is to use the same settings."""
        return dict(self._environment)

    def settings(self) -> Settings:
        """The settings it runs with, as far as stages read them."""
        nested: dict[str, Any] = {}
        for name, value in self._environment.items():
            section, _, key = name.removeprefix("DIMWATCH_").lower().partition("__")
            if name.startswith("DIMWATCH_") and key:
                nested.setdefault(section, {})[key] = value
        return Settings(data=self.data, **nested)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the supervisor tells of each process."""
        told = self._client.get(f"{self._supervisor}/status").json()["processes"]
        return {process["process"]: process for process in told}

    def pid(self, role: str) -> int | None:
        """The process of a role, None between two."""
        pid: int | None = self.processes()[role]["pid"]
        return pid

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process of a role."""
        pid = self.pid(role)
        assert pid is not None, f"{role} does not run"
        os.kill(pid, number)

    def answers(self, role: str) -> bool:
        """Whether the role does its work for somebody from outside."""
        try:
            if role == "collector":
                headers = {"content-type": "application/x-protobuf"}
                return self._client.post(f"{self.http}/v1/traces", headers=headers, content=b"").is_success
            if role == "store":
                return bool(self.rows("SELECT count() FROM spans WHERE trace_id = ''"))
            if role == "dashboard":
                return self._client.get(f"{self._dashboard}/_stcore/health").is_success
            return bool(self.processes()[role]["state"] == "ready")
        except httpx.HTTPError:
            return False

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query. Raises httpx.HTTPError while the store is away."""
        form = "default_format=JSONCompactEachRow&output_format_json_quote_64bit_integers=0"
        answer = self._client.post(f"{self._store}/?database=dimwatch&{form}", content=sql.encode(), timeout=60.0)
        assert answer.status_code != 400, answer.text
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def value(self, sql: str) -> Any:
        """The only value of a query."""
        return self.rows(sql)[0][0]

    def metric(self, name: str, **labels: str) -> float:
        """Sum of all samples of a metric that carry these labels."""
        total = 0.0
        for line in self._client.get(f"{self._supervisor}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    def behind(self) -> int:
        """Records that some stage has still to work through, but for the fleet stage: it commits once a minute."""
        found = lags(self.data / "eventlog" / "eventlog.sqlite")
        return sum(lag.records for lag in found if lag.group != FLEET)

    def drain(self, timeout_s: float = 180.0) -> float:
        """Wait until all that was acknowledged is judged and visible; return the seconds that it took."""

        def drained() -> bool:
            return self.behind() == 0 and self.metric("dimwatch_open_traces") == 0

        def twice() -> bool:  # between two stages nothing is behind for a moment
            if not drained():
                return False
            time.sleep(1.0)
            return drained()

        return until(twice, timeout_s, "it did not drain")

    def peak_bytes(self, role: str) -> int:
        """The most memory that the present process of a role ever held."""
        status = Path(f"/proc/{self.pid(role)}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def _all_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"`dimwatch up` has ended: {self.log.read_text()[-2000:]}"
        try:
            return self._client.get(f"{self._supervisor}/readyz").is_success
        except httpx.HTTPError:
            return False

    def _survivors(self) -> list[int]:
        wanted = f"\0DIMWATCH_DATA={self._folder}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in b"\0" + path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def until(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> float:
    """Wait for a condition; return the seconds that it took. Raises AssertionError after `timeout_s`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"{otherwise} within {timeout_s:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - started
