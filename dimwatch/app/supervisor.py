"""Keeps the processes of Dimwatch running, and ends them in the order of the flow.

A process that dies is started again: at once if it had been ready, with growing, jittered delays if it dies
again and again. Every process leads its own process group, so that nothing that it started stays behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

import structlog

from dimwatch import telemetry
from dimwatch.app.guard import PIPE_VARIABLE
from dimwatch.app.health import Check

EXIT_PERMANENT: Final = 78
"""Exit status of a process that a restart can not help (EX_CONFIG of sysexits.h)."""

_IMPATIENCE_S: Final = 1.0
_DRAIN_CHECK_S: Final = 0.02
_WORRYING: Final = ("restarting", "not answering", "failed")

State = Literal["waiting", "starting", "ready", "not answering", "restarting", "stopping", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Role:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    ready: Check
    after: str | None = None  # started when that role is ready, or after `Policy.patience_s`
    grace_s: float = 10.0  # between SIGTERM and SIGKILL
    log: Path | None = None  # where its output goes; else where the supervisor's goes


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the supervisor is. Seconds."""

    first_delay_s: float = 0.2
    longest_delay_s: float = 30.0
    proven_s: float = 3.0  # ready for that long: the next restart is quick again
    patience_s: float = 15.0  # wait for the role that another one comes after
    starting_check_s: float = 0.1
    check_s: float = 5.0
    doubt_s: float = 8.0  # not answering for that long: told
    stuck_s: float = 120.0  # not answering for that long: killed and started again
    starting_s: float = 600.0  # opening a large store may take that long

    def delay_s(self, failures: int) -> float:
        """Delay before the restart after so many failures in a row, with a jitter of a quarter."""
        longest = min(self.first_delay_s * 2.0 ** min(failures - 1, 30), self.longest_delay_s)
        return longest * random.uniform(0.75, 1.0)  # noqa: S311 - spreads restarts, guards nothing


@dataclass(slots=True)
class Process:
    """What is known of one role."""

    role: Role
    state: State = "waiting"
    pid: int | None = None
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    last_exit: str = ""
    proven: bool = False  # was ready at least once, so that it can be again
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def seconds_in_state(self) -> float:
        """How long it has been in its state."""
        return time.monotonic() - self.since


class Supervisor:
    """Runs roles until a signal, `stop`, or a failure that no restart can help."""

    def __init__(
        self,
        roles: Sequence[Role],
        environment: Mapping[str, str],
        *,
        policy: Policy | None = None,
        on_exit: Callable[[Role], None] = lambda _: None,
    ) -> None:
        """`roles` are in the order in which they are drained; `on_exit` is called when a process has ended."""
        self.processes = [Process(role) for role in roles]
        self._environment = dict(environment)
        self._policy = policy or Policy()
        self._on_exit = on_exit
        self._log = structlog.get_logger()
        self._stop = asyncio.Event()
        self._stop_since = 0.0
        self._kill = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        """Run everything; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop, number.name)
        async with asyncio.TaskGroup() as tasks:
            for process in self.processes:
                tasks.create_task(self._keep_running(process))
            tasks.create_task(self._drain())
        return 1 if self._failed else 0

    def stop(self, reason: str = "asked") -> None:
        """Begin to drain; a second call, a second or more later, kills what has not ended yet."""
        if self._stop.is_set():
            # Sooner than that it is not impatience: `timeout` and others signal the group as well.
            if time.monotonic() - self._stop_since > _IMPATIENCE_S:
                self._kill.set()
            return
        self._stop_since = time.monotonic()
        self._log.info("draining", reason=reason)
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it is on its way out."""
        return self._stop.is_set()

    def process(self, name: str) -> Process:
        """The process of that role."""
        return next(process for process in self.processes if process.role.name == name)

    async def _keep_running(self, process: Process) -> None:
        role, failures = process.role, 0
        try:
            if role.after is not None:
                await self._pause(self._policy.patience_s, until=self.process(role.after).ready)
            while not self._stop.is_set():
                status = await self._run_once(process)
                if self._stop.is_set():
                    break
                if status == EXIT_PERMANENT and not process.proven:
                    self._failed = True
                    self._change(process, "failed", exit=process.last_exit)
                    self.stop(f"{role.name} can not run")
                    return
                healthy = process.state == "ready" and process.seconds_in_state() >= self._policy.proven_s
                failures = 1 if healthy else failures + 1
                delay = self._policy.delay_s(failures)
                process.restarts += 1
                telemetry.PROCESS_RESTARTS.labels(role.name).inc()
                self._change(process, "restarting", exit=process.last_exit, delay_s=round(delay, 2))
                await self._pause(delay)
            self._change(process, "stopped")
        finally:
            process.ended.set()

    async def _run_once(self, process: Process) -> int:
        """Start the process and return its exit status when it has ended and nothing of it is left."""
        self._change(process, "starting")
        reading, writing = os.pipe()
        try:
            with _output(process.role) as output:
                child = await asyncio.create_subprocess_exec(
                    *process.role.command,
                    env=self._environment | {PIPE_VARIABLE: str(reading)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(reading,),
                    process_group=0,
                )
        except OSError as error:
            os.close(writing)
            process.last_exit = f"can not start: {error.strerror}"
            return 1
        finally:
            os.close(reading)
        process.pid = child.pid
        watch = asyncio.create_task(self._watch(process))
        try:
            status = await child.wait()
        finally:
            watch.cancel()
            os.close(writing)
            process.ready.clear()
            # What the dead process had started would hold its ports.
            _signal(process, signal.SIGKILL)
            process.pid = None
        process.last_exit = signal.Signals(-status).name if status < 0 else f"status {status}"
        self._on_exit(process.role)
        return status

    async def _watch(self, process: Process) -> None:
        """Follow the readiness of a process that runs; kill it when it is stuck."""
        policy, started = self._policy, time.monotonic()
        answered = started
        while not self._stop.is_set():
            answers = await process.role.ready()
            now = time.monotonic()
            if answers:
                answered = now
                if process.state != "ready":
                    self._change(process, "ready", after_s=round(now - started, 2))
                process.ready.set()
                process.proven = True
            elif process.state == "ready" and now - answered > policy.doubt_s:
                self._change(process, "not answering")
            patience = policy.stuck_s if process.ready.is_set() else policy.starting_s
            if now - answered > patience:
                self._log.error("stuck, killing it", process=process.role.name, silent_s=round(now - answered))
                _signal(process, signal.SIGKILL)
            await self._pause(policy.check_s if process.ready.is_set() else policy.starting_check_s)

    async def _drain(self) -> None:
        """End the processes one after the other, so that each has taken what the one before it still gave."""
        await self._stop.wait()
        for process in self.processes:
            asked: int | None = None
            deadline, killed = time.monotonic() + process.role.grace_s, False
            while not process.ended.is_set():
                if process.pid is not None and process.pid != asked:
                    asked = process.pid
                    self._change(process, "stopping")
                    _signal(process, signal.SIGTERM, group=False)
                if process.pid and not killed and (self._kill.is_set() or time.monotonic() > deadline):
                    killed = True
                    self._log.warning("did not drain in time, killing it", process=process.role.name)
                    _signal(process, signal.SIGKILL)
                await asyncio.sleep(_DRAIN_CHECK_S)

    async def _pause(self, seconds: float, until: asyncio.Event | None = None) -> None:
        """Wait for the time, the event or the stop, whichever comes first."""
        waits = [asyncio.create_task(event.wait()) for event in (self._stop, until) if event is not None]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _change(self, process: Process, state: State, **details: object) -> None:
        process.state, process.since = state, time.monotonic()
        telemetry.PROCESS_READY.labels(process.role.name).set(state == "ready")
        tell = self._log.warning if state in _WORRYING else self._log.info
        if process.pid is not None:
            details["pid"] = process.pid
        tell(state, process=process.role.name, **details)


@contextlib.contextmanager
def _output(role: Role) -> Iterator[IO[bytes] | None]:
    if role.log is None:
        yield None
    else:
        with role.log.open("ab") as file:
            yield file


def _signal(process: Process, number: signal.Signals, *, group: bool = True) -> None:
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(process.pid, number)
