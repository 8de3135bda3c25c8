"""The pipeline over Kafka at an even rate for half an hour: does memory stay flat, is anything lost or shown twice?

    python -m benchmarks.soak                          # 3,000 spans a second for 30 minutes
    python -m benchmarks.soak --minutes 5 --rate 1000

Plain load, and a simulated fleet with its faults beside it. Prints a table and one JSON line a figure; exit status 1
when spans were lost or doubled, or a process of Dimwatch grew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.figures import Figure
from benchmarks.roles import SERVER, Roles
from benchmarks.stepping import SPANS_A_REQUEST, send
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.simulate.fleet import Fleet
from dimwatch.simulate.load import LoadPool
from dimwatch.simulate.send import Delivery, HttpSender, Tally
from tests.kafka_broker import Broker, running

_EVERY_S: Final = 10.0
_WARM: Final = 1 / 3
"""Of the time: until then everything is loaded and caches fill."""
_JUDGED: Final = {"assembly__max_judged_traces": "100000"}
"""So much is remembered of judged traces before that, too; what the settings allow by default takes longer to fill,
and up to a gigabyte."""
_FLAT: Final = 0.05
"""Growth over the rest of the time that is none, as a share of the mean."""
_PARTS: Final = 8
"""By so many queries the spans are counted: one would be too large for a reader."""
_COUNT: Final = "SELECT count(), uniqExact(trace_id, span_id) FROM spans WHERE cityHash64(trace_id) % {parts} = {part}"
_OTHERS: Final = (SERVER, "broker")
"""Programs of others."""
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of one process over time, in MiB."""

    start: float
    """Where warming up ends, by the line through the rest."""
    end: float
    most: float

    @classmethod
    def of(cls, seconds: list[float], mib: list[float], warm_s: float) -> Memory:
        """By samples, with a line through those after `warm_s`."""
        at, level = np.array(seconds), np.array(mib)
        late = at >= warm_s
        slope, height = np.polyfit(at[late], level[late], 1)
        return cls(float(height + slope * warm_s), float(height + slope * at[-1]), float(level.max()))

    @property
    def flat(self) -> bool:
        """Whether it does not grow."""
        return self.end - self.start <= _FLAT * (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class Result:
    """One soak."""

    minutes: float
    rate: float
    """Spans acknowledged a second."""
    spans: int
    lost: int
    doubles: int
    given_up: int
    drain_s: float
    memory: Mapping[str, Memory]
    exits: Mapping[str, list[int]]
    load: float
    """Average of the machine, over the last fifteen minutes."""

    @property
    def good(self) -> bool:
        """Whether nothing was lost or doubled, and no process of Dimwatch grew or ended."""
        ours = [memory for name, memory in self.memory.items() if name not in _OTHERS]
        return not (self.lost or self.doubles or self.given_up or self.exits) and all(one.flat for one in ours)


class _Watch(threading.Thread):
    """Notes the resident memory of all processes."""

    def __init__(self, roles: Roles, broker: Broker) -> None:
        super().__init__(name="watch")
        self._roles, self._broker = roles, broker
        self._ended = threading.Event()
        self._begun = time.monotonic()
        self.samples: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))

    def run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            elapsed = time.monotonic() - self._begun
            processes = self._roles.processes.items()
            pids = {name: process.popen.pid for name, process in processes if process.popen is not None}
            for name, pid in (pids | {"broker": self._broker.pid}).items():
                seconds, mib = self.samples[name]
                seconds.append(elapsed)
                mib.append(_resident_bytes(pid) / _MIB)

    def end(self) -> None:
        self._ended.set()
        self.join()


def run(folder: Path, *, minutes: float, rate: float, traces_per_s: float) -> Result:
    """Send for so long, drain, and count."""
    seconds = 60.0 * minutes
    broker = Broker(folder / "kafka", jvm=("-XX:+UseSerialGC",))
    with running(broker), Roles(folder, broker, workers=1, settings=_JUDGED) as roles:
        watch = _Watch(roles, broker)
        fleet = _Simulation(roles.http, seconds, traces_per_s)
        watch.start()
        fleet.start()
        sent = send(roles.http, LoadPool(SPANS_A_REQUEST), rate, seconds)
        fleet.join()
        watch.end()
        drain_s = roles.drain(300.0)
        parts = [roles.rows(_COUNT.format(parts=_PARTS, part=part))[0] for part in range(_PARTS)]
        exits = roles.exits()
    visible, distinct = (sum(map(int, counts)) for counts in zip(*parts, strict=True))
    spans = sent.spans + fleet.tally.spans
    memory = {name: Memory.of(*samples, _WARM * seconds) for name, samples in watch.samples.items()}
    return Result(
        minutes,
        spans / seconds,
        spans,
        spans - distinct,
        visible - distinct,
        fleet.tally.lost,
        drain_s,
        memory,
        exits,
        os.getloadavg()[2],
    )


class _Simulation(threading.Thread):
    """A fleet with faults, whose requests fall due as time goes."""

    def __init__(self, endpoint: str, seconds: float, traces_per_s: float) -> None:
        super().__init__(name="simulation")
        self._delivery = Delivery(HttpSender(endpoint))
        self._seconds, self._rate = seconds, traces_per_s

    @property
    def tally(self) -> Tally:
        """What came of it."""
        return self._delivery.tally

    def run(self) -> None:
        clock = SystemClock()
        start_ns = clock.now_ns()
        fleet = Fleet(7, start_ns, start_ns + int(self._seconds * NS_PER_SECOND), self._rate)
        for export in fleet.requests():
            time.sleep(max(0.0, (export.due_ns - clock.now_ns()) / NS_PER_SECOND))
            self._delivery.submit(export)
        self._delivery.close(drain=True)


def _resident_bytes(pid: int) -> int:
    try:
        told = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()
    except FileNotFoundError:
        told = []
    return int(told[0]) * 1024 if told else 0  # it has ended, and is started again


def table(result: Result) -> str:
    """The result for people."""
    lines = [
        f"sent     {result.spans:>11,} spans in {result.minutes:g} minutes, {result.rate:,.0f} a second; drained in "
        f"{result.drain_s:.0f} s; load average {result.load:.1f}",
        f"lost     {result.lost:>11,} acknowledged spans, {result.doubles:,} shown twice, {result.given_up:,} given up",
        f"{'resident, MiB':<14} {'warm':>8} {'end':>8} {'most':>8} {'MiB an hour':>12}",
    ]
    hours = (1 - _WARM) * result.minutes / 60
    for name, memory in result.memory.items():
        lines.append(
            f"{name:<14} {memory.start:>8,.0f} {memory.end:>8,.0f} {memory.most:>8,.0f} "
            f"{(memory.end - memory.start) / hours:>+12,.0f}{'' if memory.flat else '  GROWS'}"
        )
    lines += [f"ended by themselves: {name} with status {', '.join(map(str, s))}" for name, s in result.exits.items()]
    return "\n".join(lines)


def figures(result: Result) -> list[Figure]:
    """The result for machines."""
    found = [
        Figure("soak_spans_per_s", result.rate, "spans/s"),
        Figure("soak_lost", result.lost, "spans"),
        Figure("soak_doubles", result.doubles, "spans"),
    ]
    for name, memory in result.memory.items():
        found.append(Figure(f"soak_resident_{name.replace('-', '_')}", memory.most, "MiB"))
        found.append(Figure(f"soak_growth_{name.replace('-', '_')}", memory.end - memory.start, "MiB"))
    return found


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=3_000.0, help="plain spans a second")
    parser.add_argument("--traces", type=float, default=10.0, help="of the simulated fleet a second, beside")
    parser.add_argument("--keep", type=Path, help="folder for logs and data; a temporary one without")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dimwatch-soak-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(folder, minutes=given.minutes, rate=given.rate, traces_per_s=given.traces)
    print(table(result))
    for figure in figures(result):
        print(figure.json())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
