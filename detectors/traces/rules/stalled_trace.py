"""A run that stood still: nothing was at work for a long time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.traces.context import Context
from detectors.traces.intervals import latest_end_before
from detectors.traces.rules.base import Finding, Rule, Severity

_STALL_NS: Final = 60_000_000_000
_SHARE: Final = 0.5


def find(context: Context) -> Iterator[Finding]:
    """Gaps of over a minute, and over half of the run, in which no model call, tool or dependency was open."""
    batch = context.batch
    work = np.flatnonzero(batch.kind("llm", "tool", "retriever", "embedding", "reranker", "http", "memory", "mcp"))
    if not len(work):
        return
    trace, start, end = batch.trace[work], batch.start[work], batch.end[work]
    gap = start - latest_end_before(trace, start, end)
    last_end = np.zeros(batch.traces, dtype=np.int64)
    np.maximum.at(last_end, batch.trace, batch.end)
    whole = (last_end - batch.start[batch.first[:-1]])[trace]
    stalled = (gap > _STALL_NS) & (gap > _SHARE * whole)
    for position in np.flatnonzero(stalled).tolist():
        seconds, share = gap[position] / 1e9, gap[position] / max(int(whole[position]), 1)
        row = int(work[position])
        name = batch.texts("name", [row])[0]
        yield Finding(
            row=row,
            confidence=0.6,
            summary=f"The run stood still for {seconds:.0f} s, {share:.0%} of its time, before {name}",
            evidence={"gap_s": round(seconds, 3), "share": round(float(share), 3)},
        )


RULE = Rule(
    name="stalled_trace",
    severity=Severity.WARNING,
    find=find,
    detects="A run in which nothing was at work for over a minute and over half of its time.",
    needs=("start_time", "duration_ns"),
    blind_spots="Runs that wait for a person look the same; runs that never end show as incomplete.",
)
