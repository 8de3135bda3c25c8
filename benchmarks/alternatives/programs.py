"""Programs of others: installed where they are missing, started, and ended with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx

from benchmarks.processes import family

_INSTALL_S: Final = 1800.0
_START_S: Final = 180.0
_STOP_S: Final = 20.0
_LOOK_S: Final = 0.2
_TAIL: Final = 600


class UnavailableError(Exception):
    """Cannot be installed or started here; the message has the end of what it said."""


def installed(kept: Path, requirement: str) -> Path:
    """The programs of a Python package, in a virtual environment of its own under `kept`."""
    folder = kept / requirement.replace("==", "-")
    done = folder / "installed"
    if not done.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], kept)
        _run([str(folder / "bin" / "pip"), "install", "--quiet", requirement], kept)
        done.touch()
    return folder / "bin"


def built_collector(kept: Path, config: Path, name: str, version: str) -> Path:
    """An OpenTelemetry Collector under `kept`, built by its builder from a file that names its parts."""
    folder = kept / f"{name}-{version}"
    program = folder / "build" / name
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["go", "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}"], folder, {"GOBIN": str(folder)})
        _run([str(folder / "builder"), "--config", str(config)], folder)
    return program


@contextmanager
def started(
    command: Sequence[str], folder: Path, answers: Callable[[], bool], environment: Mapping[str, str]
) -> Iterator[int]:
    """The process of a program that runs in a folder, once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + _START_S
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"{Path(command[0]).name} did not start: {log.read_text()[-_TAIL:]}")
            time.sleep(_LOOK_S)
        yield process.pid
    finally:
        others = family([process.pid]) - {process.pid}
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether something says OK there."""
    try:
        return httpx.get(address).is_success
    except httpx.HTTPError:
        return False


def bytes_in(folder: Path) -> int:
    """What the files of a folder take on disk; a broker's are longer than what is in them."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-_TAIL:]}")
