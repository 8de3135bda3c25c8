"""One system on trial: the same load at a rate that is stepped up, and what is in its store afterwards."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks.alternatives import faulty
from benchmarks.processes import all_cpu_s, all_peak_bytes
from benchmarks.stepping import Sent, post, send, step_up
from dimwatch.clock import SystemClock
from dimwatch.simulate.load import LoadPool

MAX_BEHIND_S: Final = 8.0
"""After the last answer of a round, until all of its spans are readable."""

_WARM_UPS: Final = 5
"""At most: a server whose workers load at their first requests refuses some of them."""
_STALLED_S: Final = 20.0
"""Without one more span: what is missing then does not come."""
_TOLD_S: Final = 30.0
_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on disk."""

    store: int
    log: int = 0
    """Of what is kept before the store: an eventlog, a broker."""


@dataclass(frozen=True, slots=True)
class Target:
    """A system that runs."""

    address: str
    """Of OTLP over HTTP, without /v1/traces."""
    pids: Sequence[int]
    """Of its processes; their children need not be named."""
    spans: Callable[[], int]
    """Rows in its own store; cheap to ask."""
    kept: Callable[[], tuple[int, int]]
    """Spans that its readers see, and how many of them are distinct."""
    told: Callable[[Sequence[str]], int]
    """How many of these traces its store says anything bad about."""
    disk: Callable[[], Disk]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A system as people set it up."""

    name: str
    setup: str
    """Version and settings."""
    answer: str
    """What has happened to a span when its sender gets the OK."""
    finds: str
    """What it says of spans by itself; one sentence."""
    running: Callable[[Path, Path], AbstractContextManager[Target]]
    """From a folder where installations are kept, and an empty one for data."""


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one rate."""

    sent: Sent
    refused: Sequence[str]
    behind_s: float
    """Infinite when not all spans became readable."""
    cpu_us: float
    """A span, from the first request until all is readable."""
    resident_bytes: float
    """The most that each process held so far, summed."""

    @property
    def sustained(self) -> bool:
        """Did it keep up?"""
        return self.sent.in_time and not self.refused and self.behind_s <= MAX_BEHIND_S

    def __str__(self) -> str:
        readable = f"readable {self.behind_s:.1f} s later" if math.isfinite(self.behind_s) else "not all readable"
        refused = f"; {len(self.refused)} requests refused: {self.refused[0]}" if self.refused else ""
        return f"{self.sent.wanted:,.0f}: acknowledged {self.sent.rate:,.0f}, {readable}{refused}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured of one system."""

    best: Round | None
    beyond: Round | None
    """The first that it did not sustain."""
    lost: int
    """Acknowledged and not in the store."""
    doubled: int
    told: int | None
    """None when it did not take the runs that fail in silence."""
    disk: Disk
    stored: int
    """Distinct spans in the store."""


def measure(target: Target, load: LoadPool, rates: Sequence[float], seconds: float) -> Outcome:
    """Warm up, and step the rate up until it is not sustained; then one request of runs that fail in silence."""
    rounds: list[Round] = []

    def go(rate: float) -> Round:
        rounds.append(_round(target, load, rate, seconds))
        return rounds[-1]

    acknowledged = _warm_up(target, load, rates[0], seconds / 2)
    best, spans = step_up(rates, go)
    acknowledged += spans
    request, spans, trace_ids = faulty.request(SystemClock().now_ns())
    told = None
    try:
        with httpx.Client() as client:
            acknowledged += post(client, target.address, request, spans, target.headers)
        _readable(target, acknowledged)
        told = _told(target, trace_ids)
    except httpx.HTTPError as error:
        print(f"refused: {error}", file=sys.stderr)
    visible, distinct = target.kept()
    beyond = None if rounds[-1].sustained else rounds[-1]
    return Outcome(best, beyond, max(acknowledged - distinct, 0), visible - distinct, told, target.disk(), distinct)


def _warm_up(target: Target, load: LoadPool, rate: float, seconds: float) -> int:
    """Until everything is loaded and nothing is refused any more; return the spans that were acknowledged."""
    acknowledged = 0
    for _ in range(_WARM_UPS):
        warm = _round(target, load, rate, seconds)
        acknowledged += warm.sent.spans
        if not warm.refused:
            break
    return acknowledged


def _round(target: Target, load: LoadPool, rate: float, seconds: float) -> Round:
    stored, used = target.spans(), all_cpu_s(target.pids)
    refused: list[str] = []
    sent = send(target.address, load, rate, seconds, headers=target.headers, refused=refused)
    behind_s = _readable(target, stored + sent.spans)
    used = all_cpu_s(target.pids) - used
    resident = all_peak_bytes(target.pids)
    return Round(sent, refused, behind_s, used / max(sent.spans, 1) * 1e6, resident)


def _readable(target: Target, wanted: int) -> float:
    """Seconds until the store holds so many spans; infinite when no more come."""
    started = last_s = time.monotonic()
    most = 0
    while (held := target.spans()) < wanted:
        if held > most:
            most, last_s = held, time.monotonic()
        elif time.monotonic() - last_s > _STALLED_S:
            return math.inf
        time.sleep(_LOOK_S)
    return time.monotonic() - started


def _told(target: Target, trace_ids: Sequence[str]) -> int:
    deadline = time.monotonic() + _TOLD_S
    while (told := target.told(trace_ids)) < len(trace_ids) and time.monotonic() < deadline:
        time.sleep(1.0)
    return told
