"""Each role as a process by itself, without `dimwatch up`: its health, its metrics, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.running import free_ports, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LOOPS = ("collector", "worker", "fleet")
PORTS = ("receiver__grpc_port", "receiver__http_port", "store__http_port", "dashboard__port", "api__port")


class Roles:
    """Processes of one installation; each tells its health on a port of its own."""

    def __init__(self, folder: Path) -> None:
        numbers = free_ports(len(PORTS))
        self.settings = dict(zip(PORTS, map(str, numbers), strict=True)) | {"data": str(folder / "data")}
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._health: dict[str, int] = {}

    def start(self, role: str) -> None:
        (port,) = free_ports(1)
        environment = os.environ | {f"DIMWATCH_{name.upper()}": value for name, value in self.settings.items()}
        command = [sys.executable, "-P", "-m", "dimwatch", role, "--health-port", str(port)]
        with (self._folder / f"{role}.log").open("wb") as log:
            self._processes[role] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._health[role] = port

    def get(self, role: str, path: str) -> httpx.Response | None:
        """The answer of a role, None while it does not listen."""
        log = (self._folder / f"{role}.log").read_text()
        assert self._processes[role].poll() is None, f"{role} has ended: {log[-2000:]}"
        try:
            return httpx.get(f"http://127.0.0.1:{self._health[role]}{path}", timeout=5.0)
        except httpx.HTTPError:
            return None

    def ready(self, role: str) -> bool:
        answer = self.get(role, "/readyz")
        return answer is not None and answer.status_code == 200

    def stop(self, role: str) -> int:
        """Send SIGTERM; return the exit status."""
        self._processes[role].send_signal(signal.SIGTERM)
        return self._processes[role].wait(30)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    roles = Roles(tmp_path)
    yield roles
    roles.close()


def test_each_role_is_alive_says_what_it_waits_for_and_drains(roles: Roles) -> None:
    roles.start("dashboard")
    for role in LOOPS:
        roles.start(role)
    for role in LOOPS:
        until(lambda role=role: roles.ready(role), 30.0, f"{role} is not ready")  # type: ignore[misc]
        metrics = roles.get(role, "/metrics")
        assert metrics is not None
        assert "dimwatch_" in metrics.text
    until(lambda: roles.get("dashboard", "/healthz") is not None, 30.0, "the dashboard does not listen")
    waiting = roles.get("dashboard", "/readyz")
    assert waiting is not None
    assert waiting.status_code == 503
    store = f"127.0.0.1:{roles.settings['store__http_port']}"
    assert waiting.json()["store"] == f"unreachable: no ClickHouse interface answers at {store}"

    roles.start("store")
    until(lambda: roles.ready("store") and roles.ready("dashboard"), 60.0, "the store and its reader are not ready")
    assert [role for role in (*LOOPS, "store") if roles.stop(role) != 0] == []
