"""`dimwatch replay` as a child of the dashboard: one at a time, bounded in time and output, with progress.

It is the same code that runs live, in a process of its own: it may take minutes of a core, and can be stopped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock, Thread, Timer
from typing import IO, Any, Final

import orjson

LONGEST_S: Final = 15 * 60
"""A replay that takes longer is stopped."""
LINES: Final = 2_000
"""Most incidents that are kept; one that makes more is stopped."""
_KEPT: Final = 8
_LINE_BYTES: Final = 1 << 20
_PROGRESS: Final = re.compile(r"([\d,]+) of ([\d,]+) minutes")
_NAME: Final = re.compile(r"[a-z_]+")


@dataclass(frozen=True, slots=True)
class Question:
    """What is replayed: a time range, and settings of `detection` that are other than those that run."""

    since: datetime
    until: datetime
    changes: tuple[tuple[str, float], ...]

    @property
    def arguments(self) -> list[str]:
        """Of the command."""
        words = ["replay", "--since", _moment(self.since), "--until", _moment(self.until)]
        for name, value in self.changes:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no setting")
            words += ["--set", f"detection.{name}={value:g}"]
        return words


class Run:
    """One replay, from its start on. What it has found so far can be read while it goes on."""

    def __init__(self, question: Question, environment: Mapping[str, str]) -> None:
        self.question = question
        self.done, self.total = 0, 0
        """Minutes of the recording, with those before it from which is learned."""
        self.problem = ""
        """Why it ended early, for people; "" if it did not."""
        self._lines: dict[str, dict[str, Any]] = {}
        self._process = subprocess.Popen(  # noqa: S603 (our own command, values checked above)
            [sys.executable, "-m", "dimwatch", *question.arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._timer = Timer(LONGEST_S, self._stop, [f"It took longer than {LONGEST_S // 60} minutes: shorten it."])
        self._timer.daemon = True
        self._timer.start()
        self._told = ""
        self._threads = [
            Thread(target=read, args=[stream], daemon=True)
            for read, stream in ((self._read, self._process.stdout), (self._follow, self._process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def going(self) -> bool:
        """Whether it still runs, or has output that was not read yet."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """The incidents so far, each as it was told last."""
        return list(self._lines.values())

    def cancel(self) -> None:
        """Stop it; what was found stays."""
        self._stop("It was stopped: this is what it had found until then.")

    def _stop(self, why: str) -> None:
        if self.going:
            self.problem = why
            self._process.terminate()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LINE_BYTES):
                self._take(line)
        self._process.wait()
        self._timer.cancel()
        if self._process.returncode and not self.problem:
            self._threads[1].join()
            self.problem = self._told or f"It ended with status {self._process.returncode}."

    def _take(self, line: bytes) -> None:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:  # cut at _LINE_BYTES: the rest of the run is of use without it
            self.problem = "A line of its output was too long and is missing here."
            return
        if told.get("type") == "incident":
            self._lines[str(told["id"])] = told
        if len(self._lines) >= LINES:
            self._stop(f"It found {LINES:,} incidents: these settings are too sensitive to go on.")

    def _follow(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LINE_BYTES):
                text = line.decode(errors="replace").strip()
                if progress := _PROGRESS.search(text):
                    self.done, self.total = (int(number.replace(",", "")) for number in progress.groups())
                elif text:
                    self._told = text.removeprefix("Error: ")[:500]


class Replays:
    """The replays of this process: at most one goes on, and the last few are kept."""

    def __init__(self) -> None:
        self._runs: dict[Question, Run] = {}
        self._lock = Lock()

    def start(self, question: Question, environment: Mapping[str, str]) -> Run | None:
        """The run of that question, started if it is new; None while another goes on."""
        with self._lock:
            if question in self._runs:
                return self._runs[question]
            if any(run.going for run in self._runs.values()):
                return None
            while len(self._runs) >= _KEPT:
                del self._runs[next(iter(self._runs))]
            run = self._runs[question] = Run(question, environment)
            return run


REPLAYS: Final = Replays()


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
