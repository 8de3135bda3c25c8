"""One closed window of the whole fleet: what the engine steps on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from dimwatch.clock import NS_PER_SECOND

MINUTE_NS: Final = 60 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Minute:
    """Windows are closed in order, and every one is, also when nothing happened in it."""

    start_ns: int
    """A multiple of MINUTE_NS."""
    points: pa.Table
    """`dimwatch.records.POINT`, one row a series, merged over batches and workers; in the order of their keys, so
    that the same points give the same table whatever order they came in."""
    sightings: pa.Table
    """`dimwatch.records.SIGHTING`, merged likewise."""

    @property
    def end_ns(self) -> int:
        """Where the next one begins."""
        return self.start_ns + MINUTE_NS
