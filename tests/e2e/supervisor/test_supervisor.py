"""The supervisor, with small processes in place of the real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

pytestmark = pytest.mark.e2e
HERE = Path(__file__).parent
PATIENCE_S = 90.0
"""For what starts or ends interpreters on a machine that is busy. Waits end when it has happened."""


class Supervised:
    """A running supervisor of stand-ins, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str, first_delay_s: float = 0.05) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, str(HERE / "supervised.py"), str(self.folder), str(first_delay_s), *words]
            self.process = subprocess.Popen(command, stderr=log)

    def events(self) -> list[tuple[str, str, int]]:
        """(name, what happened, process id) in order."""
        path = self.folder / "events"
        lines = whole_lines(path.read_bytes()) if path.exists() else []
        fields = [line.decode().split(" ") for line in lines]
        return [(words[0], " ".join(words[1:-1]), int(words[-1])) for words in fields]

    def pids(self, name: str) -> list[int]:
        return [pid for who, event, pid in self.events() if who == name and event == "started"]

    def grandchildren(self, *names: str) -> list[int]:
        """Of these, or of all."""
        told = [event.split() for who, event, _ in self.events() if who in names or not names]
        return [int(words[1]) for words in told if words[0] == "child"]

    def logged(self, event: str) -> list[dict[str, object]]:
        entries = [orjson.loads(line) for line in whole_lines(self.log.read_bytes()) if line.startswith(b"{")]
        return [entry for entry in entries if entry["event"] == event]

    def ready(self, name: str, times: int = 1) -> Callable[[], bool]:
        return self._told("ready", name, times)

    def starting(self, name: str, times: int = 1) -> Callable[[], bool]:
        return self._told("starting", name, times)

    def _told(self, event: str, name: str, times: int) -> Callable[[], bool]:
        return lambda: sum(entry["process"] == name for entry in self.logged(event)) >= times

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    subject = Supervised(tmp_path)
    yield subject
    if subject.process is not None and subject.process.poll() is None:
        subject.process.kill()
        subject.process.wait()
    pids = {pid for _, _, pid in subject.events()} | set(subject.grandchildren())
    until(lambda: not any(map(alive, pids)))


def whole_lines(told: bytes) -> list[bytes]:
    """Without one that is just being written."""
    return told[: told.rfind(b"\n") + 1].splitlines()


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_killed_process_runs_again_within_a_second_and_leaves_nothing_behind(supervised: Supervised) -> None:
    supervised.start("one", "two")
    until(supervised.ready("two"))
    took = []
    for times in range(1, 4):
        first, grandchild = supervised.pids("one")[-1], supervised.grandchildren("one")[-1]
        started = time.monotonic()
        os.kill(first, signal.SIGKILL)
        until(supervised.starting("one", times + 1))
        took.append(time.monotonic() - started)
        until(supervised.ready("one", times + 1))
        until(lambda grandchild=grandchild: not alive(grandchild))  # type: ignore[misc]
    assert min(took) < 1.0, took  # the machine may have been busy with others, but hardly each time
    restarts = supervised.logged("restarting")
    assert [(restart["process"], restart["exit"]) for restart in restarts] == [("one", "SIGKILL")] * 3
    assert all(float(str(restart["delay_s"])) < 1.0 for restart in restarts)
    assert len(supervised.pids("two")) == 1, "the others are left alone"


def test_a_process_that_dies_again_and_again_is_started_less_and_less_often(supervised: Supervised) -> None:
    supervised.start("one:dies")
    until(lambda: len(supervised.logged("restarting")) >= 6)
    delays = [float(str(entry["delay_s"])) for entry in supervised.logged("restarting")]
    assert delays[0] <= 0.05
    assert all(0.3 <= delay <= 0.4 for delay in delays[4:]), delays
    assert supervised.end() == 0


def test_a_process_that_stays_well_earns_a_quick_restart(supervised: Supervised) -> None:
    supervised.start("one")
    for times in range(1, 5):
        until(supervised.ready("one", times))
        time.sleep(0.4)  # longer than it takes to be proven
        os.kill(supervised.pids("one")[-1], signal.SIGKILL)
    until(supervised.ready("one", 5))
    assert all(float(str(entry["delay_s"])) <= 0.05 for entry in supervised.logged("restarting"))


def test_a_stuck_process_is_killed_and_started_again(supervised: Supervised) -> None:
    supervised.start("one")
    until(supervised.ready("one"))
    pid = supervised.pids("one")[0]
    os.kill(pid, signal.SIGSTOP)
    (supervised.folder / "run" / "one.heartbeat").unlink()
    until(supervised.ready("one", times=2))
    assert not alive(pid)
    assert supervised.logged("not answering")
    assert supervised.logged("stuck, killing it")


def test_a_stop_drains_in_the_order_of_the_flow(supervised: Supervised) -> None:
    supervised.start("one", "two", "three")
    until(supervised.ready("three"))
    assert supervised.end() == 0
    told = [(name, event) for name, event, _ in supervised.events() if event in ("asked", "drained")]
    assert told == [(name, event) for name in ("one", "two", "three") for event in ("asked", "drained")]
    assert not any(map(alive, supervised.grandchildren()))


def test_ctrl_c_drains_as_well(supervised: Supervised) -> None:
    supervised.start("one")
    until(supervised.ready("one"))
    assert supervised.end(signal.SIGINT) == 0
    assert ("one", "drained") in [(name, event) for name, event, _ in supervised.events()]


def test_a_signal_that_comes_twice_at_once_still_drains(supervised: Supervised) -> None:
    supervised.start("one", "two")
    until(supervised.ready("two"))
    assert supervised.process is not None
    supervised.process.send_signal(signal.SIGSTOP)  # so that both are there at once
    supervised.process.send_signal(signal.SIGTERM)
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.end(signal.SIGCONT) == 0
    assert [name for name, event, _ in supervised.events() if event == "drained"] == ["one", "two"]
    assert not supervised.logged("did not drain in time, killing it")


def test_a_second_ctrl_c_waits_no_longer(supervised: Supervised) -> None:
    supervised.start("one:stubborn:600")
    until(supervised.ready("one"))
    assert supervised.process is not None
    supervised.process.send_signal(signal.SIGINT)
    until(lambda: bool(supervised.logged("draining")))
    time.sleep(1.2)  # what counts as impatience
    assert supervised.end(signal.SIGINT) == 0, "long before its grace is over"


def test_a_process_that_does_not_drain_is_killed_after_its_grace(supervised: Supervised) -> None:
    supervised.start("one:stubborn:1", "two")
    until(supervised.ready("two"))
    started = time.monotonic()
    assert supervised.end() == 0, "long before the grace of others is over"
    assert time.monotonic() - started >= 1.0
    (killed,) = supervised.logged("did not drain in time, killing it")
    assert killed["process"] == "one"
    assert ("two", "drained") in [(name, event) for name, event, _ in supervised.events()]


def test_a_stop_while_a_process_is_being_restarted_ends_at_once(supervised: Supervised) -> None:
    supervised.start("one:dies", first_delay_s=600.0)
    until(lambda: bool(supervised.logged("restarting")))
    assert supervised.end() == 0, "long before it would be started again"


def test_nothing_survives_a_supervisor_that_is_killed(supervised: Supervised) -> None:
    supervised.start("one", "two:stubborn")
    until(supervised.ready("two"))
    pids = supervised.pids("one") + supervised.pids("two") + supervised.grandchildren()
    assert len(pids) == 4
    supervised.end(signal.SIGKILL)
    until(lambda: not any(map(alive, pids)))


def test_a_process_that_can_never_run_ends_the_whole(supervised: Supervised) -> None:
    supervised.start("one", "two:can-not-run")
    assert supervised.process is not None
    assert supervised.process.wait(PATIENCE_S) == 1
    (failed,) = supervised.logged("failed")
    assert failed["process"] == "two"
    assert ("one", "drained") in [(name, event) for name, event, _ in supervised.events()]
