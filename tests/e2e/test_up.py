"""`dimwatch up` as people run it, with its real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_S = 120.0
"""For all that ends a wait; how soon it was is another question."""

ROLES = ("collector", "worker", "fleet", "store", "api", "dashboard")
FLAGS = ("--grpc-port", "--http-port", "--store-port", "--api-port", "--dashboard-port", "--metrics-port")


class Up:
    """A `dimwatch up` on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.out = folder / "out"
        self.ports = dict(zip(FLAGS, free_ports(len(FLAGS)), strict=True))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        flags = [word for flag, port in self.ports.items() for word in (flag, str(port))]
        return [sys.executable, "-P", "-m", "dimwatch", "up", *flags, *(words or ("--data", str(self.data)))]

    def start(self, *words: str) -> None:
        environment = os.environ | {"TMPDIR": str(self.folder)}
        with self.log.open("ab") as log, self.out.open("ab") as out:
            self.process = subprocess.Popen(self.command(*words), stdout=out, stderr=log, env=environment)

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports['--metrics-port']}{path}", timeout=PATIENCE_S
            ) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def processes(self) -> dict[str, dict[str, Any]]:
        told = orjson.loads(self.get("/status")[1])["processes"]
        return {process["process"]: process for process in told}

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/readyz")[0] == 200

    def query(self, sql: str) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['--store-port']}/?database=dimwatch", sql.encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return str(answer.read().decode().strip())
        except OSError:
            return ""

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def ports_are_free(self) -> bool:
        for port in self.ports.values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return False
        return True

    def leftovers(self) -> list[str]:
        """Command lines of processes that work on a data folder of this test."""
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"\0DIMWATCH_DATA={self.folder}".encode() in b"\0" + environment.read_bytes():
                    found.append((environment.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float:
    """Wait for a condition; return the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - started


def within(seconds: float, first_s: float) -> float:
    """So many seconds; more only on a machine that took long to start everything, which is then its pace."""
    return max(seconds, 2 * first_s)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    subject = Up(tmp_path)
    yield subject
    if subject.process is not None and subject.process.poll() is None:
        subject.process.kill()
        subject.process.wait()
    until(lambda: not subject.leftovers())


def test_it_starts_survives_kills_and_drains(up: Up) -> None:
    up.start()
    first_s = until(up.ready)
    for role in ROLES:
        pid = up.processes()[role]["pid"]
        os.kill(pid, signal.SIGKILL)
        again_s = until(lambda role=role, pid=pid: up.processes()[role]["pid"] not in (pid, None))  # type: ignore[misc]
        assert again_s < within(5.0, first_s)
        assert until(up.ready) < within(10.0, first_s), f"{role} was not running again in time"
    assert {name: process["restarts"] for name, process in up.processes().items()} == dict.fromkeys(ROLES, 1)
    assert b'dimwatch_process_restarts_total{role="store"} 1.0' in up.get("/metrics")[1]
    assert up.query("SELECT count() FROM spans") == "0"

    refused = subprocess.run(up.command(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert f"already running on {up.data} (process {up.process.pid if up.process else 0})" in refused.stderr
    assert "Traceback" not in refused.stderr

    assert up.end() == 0
    assert up.ports_are_free()
    assert not up.leftovers()
    events = [orjson.loads(line) for line in up.log.read_bytes().splitlines() if line.startswith(b"{")]
    stopped = [event["process"] for event in events if event["event"] == "stopped"]
    assert stopped == list(ROLES), "in the order of the flow"


def test_nothing_is_left_of_one_that_is_killed_and_the_next_goes_on(up: Up) -> None:
    up.start()
    first_s = until(up.ready)
    assert len(up.leftovers()) >= len(ROLES), "the processes can be found"
    up.end(signal.SIGKILL)
    until(lambda: not up.leftovers() and up.ports_are_free())
    up.start()
    assert until(up.ready) < within(15.0, first_s)
    assert up.end(signal.SIGINT) == 0


def test_a_taken_port_is_named_with_its_holder(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.ports["--store-port"])):
        refused = subprocess.run(up.command(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 1
    for part in (str(up.ports["--store-port"]), "store.http_port", "--store-port", f"process {os.getpid()}"):
        assert part in refused.stderr
    assert not up.leftovers()


def test_the_demo_shows_findings_within_a_minute_and_leaves_nothing(up: Up) -> None:
    up.start("--demo")
    ready_s = until(up.ready)
    told_s = until(lambda: "findings are visible" in up.out.read_text())
    assert ready_s + told_s < within(60.0, 5 * ready_s)
    assert int(up.query("SELECT count() FROM observations WHERE severity != 'info'")) > 0
    told = up.out.read_text()
    for port in up.ports.values():
        assert str(port) in told
    assert len(list(up.folder.glob("dimwatch-demo-*"))) == 1
    assert up.end() == 0
    assert not list(up.folder.glob("dimwatch-demo-*")), "the data of a demo is thrown away"
    assert not up.leftovers()
