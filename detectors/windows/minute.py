"""One closed window of the whole fleet: what the engine steps on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import POINT

MINUTE_NS: Final = 60 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Minute:
    """Windows are closed in order, and every one is, also when nothing happened in it: but not after a day in which
    nothing happened at all, until something does."""

    start_ns: int
    """A multiple of MINUTE_NS."""
    points: pa.Table
    """`dimwatch.records.POINT`, one row a series, merged over batches and workers; in the order of their keys, so
    that the same points give the same table whatever order they came in."""
    sightings: pa.Table
    """`dimwatch.records.SIGHTING`, merged likewise."""
    fine: pa.Table = field(default_factory=POINT.empty_table)
    """The points in windows of `dimwatch.records.POINT_WIDTH_NS`, merged likewise: for the tables only."""

    @property
    def end_ns(self) -> int:
        """Where the next one begins."""
        return self.start_ns + MINUTE_NS
