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


class Supervised:
    """A running supervisor of stand-ins, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, str(HERE / "supervised.py"), str(self.folder), *words]
            self.process = subprocess.Popen(command, stderr=log)

    def events(self) -> list[tuple[str, str, int]]:
        """(name, what happened, process id) in order."""
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        fields = [line.split(" ") for line in lines]
        return [(words[0], " ".join(words[1:-1]), int(words[-1])) for words in fields]

    def pids(self, name: str) -> list[int]:
        return [pid for who, event, pid in self.events() if who == name and event == "started"]

    def grandchildren(self) -> list[int]:
        return [int(event.split()[1]) for _, event, _ in self.events() if event.startswith("child ")]

    def logged(self, event: str) -> list[dict[str, object]]:
        entries = [orjson.loads(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [entry for entry in entries if entry["event"] == event]

    def ready(self, name: str, times: int = 1) -> Callable[[], bool]:
        return lambda: sum(entry["process"] == name for entry in self.logged("ready")) >= times

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    subject = Supervised(tmp_path)
    yield subject
    if subject.process is not None and subject.process.poll() is None:
        subject.process.kill()
        subject.process.wait()
    pids = {pid for _, _, pid in subject.events()} | set(subject.grandchildren())
    until(lambda: not any(map(alive, pids)))


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
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
    first, grandchild = supervised.pids("one")[0], supervised.grandchildren()[0]
    started = time.monotonic()
    os.kill(first, signal.SIGKILL)
    until(supervised.ready("one", times=2))
    assert time.monotonic() - started < 3.0
    until(lambda: not alive(grandchild))
    (restart,) = supervised.logged("restarting")
    assert restart["process"] == "one"
    assert restart["exit"] == "SIGKILL"
    assert float(str(restart["delay_s"])) < 1.0
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
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.end() == 0
    assert [name for name, event, _ in supervised.events() if event == "drained"] == ["one", "two"]
    assert not supervised.logged("did not drain in time, killing it")


def test_a_second_ctrl_c_waits_no_longer(supervised: Supervised) -> None:
    supervised.start("one:stubborn:30")
    until(supervised.ready("one"))
    assert supervised.process is not None
    supervised.process.send_signal(signal.SIGINT)
    time.sleep(1.2)  # what counts as impatience
    started = time.monotonic()
    assert supervised.end(signal.SIGINT) == 0
    assert time.monotonic() - started < 5.0


def test_a_process_that_does_not_drain_is_killed_after_its_grace(supervised: Supervised) -> None:
    supervised.start("one:stubborn", "two")
    until(supervised.ready("two"))
    started = time.monotonic()
    assert supervised.end() == 0
    assert 1.0 <= time.monotonic() - started < 5.0
    assert supervised.logged("did not drain in time, killing it")
    assert ("two", "drained") in [(name, event) for name, event, _ in supervised.events()]


def test_a_stop_while_a_process_is_being_restarted_ends_at_once(supervised: Supervised) -> None:
    supervised.start("one:dies")
    until(lambda: len(supervised.logged("restarting")) >= 4)
    started = time.monotonic()
    assert supervised.end() == 0
    assert time.monotonic() - started < 1.0


def test_nothing_survives_a_supervisor_that_is_killed(supervised: Supervised) -> None:
    supervised.start("one", "two:stubborn")
    until(supervised.ready("two"))
    pids = supervised.pids("one") + supervised.pids("two") + supervised.grandchildren()
    assert len(pids) == 4
    supervised.end(signal.SIGKILL)
    until(lambda: not any(map(alive, pids)), timeout_s=3.0)


def test_a_process_that_can_never_run_ends_the_whole(supervised: Supervised) -> None:
    supervised.start("one", "two:can-not-run")
    assert supervised.process is not None
    assert supervised.process.wait(20) == 1
    (failed,) = supervised.logged("failed")
    assert failed["process"] == "two"
    assert ("one", "drained") in [(name, event) for name, event, _ in supervised.events()]
