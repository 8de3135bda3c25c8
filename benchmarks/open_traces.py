"""A million traces that never end: one span each, the root missing. What does every process need, and what is lost?

    python -m benchmarks.open_traces --traces 1000000

Prints a table and one JSON line a figure; exit status 1 when a process needs over a gigabyte or a span is missing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.running import ROLES, Running
from dimwatch.clock import SystemClock
from dimwatch.simulate import wire
from dimwatch.simulate.export import Export
from dimwatch.simulate.send import HttpSender

SPANS_A_REQUEST = 10_000
MOST_BYTES = 1_000_000_000
_CONTENT = "A question that nobody answers, about an order that nobody knows. " * 6


def rootless(count: int, now_ns: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Requests of `count` tool spans, each of a trace of its own, whose parents never come."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ask",
        "gen_ai.tool.call.result": _CONTENT,
    }
    span = b"".join(
        (
            wire.field(b"\x0a", bytes(16)),
            wire.field(b"\x12", bytes(8)),
            wire.field(b"\x22", b"\x01" * 8),
            wire.field(b"\x2a", b"execute_tool ask"),
            wire.fixed64(b"\x39", now_ns - 1_000_000),
            wire.fixed64(b"\x41", now_ns),
            wire.attributes(wire.SPAN_ATTRIBUTES, attributes),
        )
    )
    template = np.frombuffer(wire.field(b"\x12", span), np.uint8)
    prefix = len(template) - len(span)
    for begin in range(0, count, SPANS_A_REQUEST):
        spans = np.tile(template, (min(SPANS_A_REQUEST, count - begin), 1))
        ids = rng.integers(1, 256, (len(spans), 24), np.uint8)
        spans[:, prefix + 2 : prefix + 18] = ids[:, :16]
        spans[:, prefix + 20 : prefix + 28] = ids[:, 16:]
        resource = wire.attributes(wire.RESOURCE_ATTRIBUTES, {"service.name": "rootless"})
        scope = wire.field(b"\x0a", wire.field(b"\x0a", b"test"))
        yield wire.field(b"\x0a", wire.field(b"\x0a", resource) + wire.field(b"\x12", scope + spans.tobytes()))


def run(traces: int, folder: Path) -> list[Figure]:
    """Send, look at the memory, drain and count."""
    rng = np.random.default_rng(1)
    with Running(folder, {"assembly__idle_s": "600", "assembly__max_idle_s": "600"}) as running:
        sender = HttpSender(running.http)
        started = time.monotonic()
        for body in rootless(traces, SystemClock().now_ns(), rng):
            sender.send(Export(0, "traces", "rootless", SPANS_A_REQUEST, body))
        sent_s = time.monotonic() - started
        sender.close()
        while running.value("SELECT count() FROM spans") != traces:
            assert time.monotonic() - started < 900, "the spans are not all visible"
            time.sleep(1.0)
        visible_s = time.monotonic() - started
        time.sleep(10.0)  # at least one checkpoint with everything that is open
        open_traces = running.metric("dimwatch_open_traces")
        evicted = running.metric("dimwatch_closed_traces_total", cause="evicted")
        peaks = {role: running.peak_bytes(role) for role in ROLES}
        restarts = sum(process["restarts"] for process in running.processes().values())
        running.stop()
        running.start()
        restored = running.metric("dimwatch_open_traces")
        peaks["worker, restarted"] = running.peak_bytes("worker")
    print(f"{traces:,} traces of one span in {sent_s:.0f} s, visible after {visible_s:.0f} s; {restarts} restarts")
    print(f"open {open_traces:,.0f}, judged for lack of room {evicted:,.0f}, open after a restart {restored:,.0f}")
    for role, peak in peaks.items():
        print(f"{role:<18} {peak / 1e6:>7,.0f} MB at most")
    return [
        Figure("open_traces_peak_memory", max(peaks.values()), "B"),
        Figure("open_traces_not_accounted_for", traces - open_traces - evicted, "traces"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_traces", description=__doc__)
    parser.add_argument("--traces", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dimwatch-open-") as folder:
        memory, missing = run(given.traces, Path(folder))
    for figure in (memory, missing):
        print(figure.json())
    return int(memory.value > MOST_BYTES or missing.value != 0)


if __name__ == "__main__":
    sys.exit(main())
