"""A trace that did not arrive whole: a fault of telemetry, not of the agent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity


def find(context: Context) -> Iterator[Finding]:
    """Traces without a root, with spans whose parent never came, or closed for lack of room."""
    batch = context.batch
    rooted = batch.any_by_trace(batch.is_root)
    orphan = (~batch.is_root) & (batch.parent < 0)
    orphans = np.bincount(batch.trace[orphan], minlength=batch.traces)
    lacking = (~rooted | (orphans > 0) | batch.forced) & ~batch.late
    for trace in np.flatnonzero(lacking).tolist():
        rows = slice(int(batch.first[trace]), int(batch.first[trace + 1]))
        first_orphan = np.flatnonzero(orphan[rows])
        row = rows.start + (int(first_orphan[0]) if len(first_orphan) else 0)
        missing = "the root" if not rooted[trace] else "the parents of some spans"
        reason = "closed early for lack of room" if batch.forced[trace] else f"{missing} never arrived"
        yield Finding(
            row=row,
            confidence=0.9,
            summary=f"Incomplete trace: {reason}",
            evidence={"root": bool(rooted[trace]), "spans_without_parent": int(orphans[trace])},
        )


RULE = Rule(
    name="incomplete_trace",
    severity=Severity.INFO,
    find=find,
    detects="A trace whose root or inner spans never arrived: sampling, a killed process, or a lost export.",
    needs=(),
    blind_spots="A trace whose last spans are missing and whose root is there looks whole.",
)
