"""How long a command takes until a person sees something."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from dimwatch.clock import NS_PER_SECOND
from dimwatch.simulate.load import LoadPool

_RUNS = 5
_START_NS = 1_760_000_000 * NS_PER_SECOND


def run() -> Iterator[Figure]:
    """Median over some runs of whole processes."""
    yield Figure("help_seconds", _median(_help), "s")
    with tempfile.TemporaryDirectory() as folder:
        load = LoadPool(64)
        for number in range(20):
            body, _ = load.request(_START_NS + number * NS_PER_SECOND)
            (Path(folder) / f"{number:02}.pb").write_bytes(body)
        yield Figure("replay_first_line_seconds", _median(lambda: _first_line(Path(folder))), "s")


def _median(measure: object) -> float:
    assert callable(measure)
    return float(sorted(measure() for _ in range(_RUNS))[_RUNS // 2])


def _help() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-m", "dimwatch", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _first_line(folder: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-P", "-m", "dimwatch", "replay", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.perf_counter() - started
        process.stdout.read()
    return took
