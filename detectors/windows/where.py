"""When and where facts happened: the window that a fact belongs to, and the columns that name its series."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import Rows, TraceBatch
from detectors.windows.keys import codes, grouped
from dimwatch.records import POINT_WIDTH_NS

_REGIONS: Final = ("cloud.region", "deployment.region", "cloud.availability_zone")
"""Resource attributes that name a region, the best first."""


class Where:
    """Of one batch. `due_ns` by trace."""

    def __init__(self, batch: TraceBatch, due_ns: Rows, lateness_ns: int) -> None:
        self._batch = batch
        self._due = due_ns
        self._lateness = lateness_ns

    def window_ns(self, rows: Rows, end_ns: Rows, width_ns: int = POINT_WIDTH_NS) -> Rows:
        """The start of the window of facts that ended at `end_ns` on span rows `rows`."""
        due = self._due[self._batch.trace[rows]]
        time: Rows = np.clip(end_ns, due - self._lateness, due)
        return time - time % width_ns

    def keys(self, subject: str, rows: Rows, **own: pa.Array) -> dict[str, pa.Array]:
        """The key columns of facts on `rows`, in the order of POINT; `own` are those of the subject."""
        nothing = pa.repeat(pa.scalar(""), len(rows))
        return {
            "tenant": self._batch.take("tenant", rows),
            "subject": pa.repeat(pa.scalar(subject), len(rows)),
            "agent": self.agents.take(pa.array(rows)),
            "provider": own.get("provider", nothing),
            "model": own.get("model", nothing),
            "tool": own.get("tool", nothing),
            "release": self._batch.take("service_version", rows),
            "region": self.regions.take(pa.array(rows)),
        }

    @cached_property
    def agents(self) -> pa.Array:
        """By span row: the agent, or the service where no agent is named."""
        agent = self._batch.agent
        return pc.if_else(pc.equal(agent, ""), self._batch.column("service"), agent)

    @cached_property
    def regions(self) -> pa.Array:
        """By span row: the region of its service in its trace, "" where the resource names none."""
        batch = self._batch
        places = grouped([codes(batch.trace), codes(batch.column("service"))])
        maps = batch.take("resource_attributes", places.first)
        found = pa.repeat(pa.scalar(""), len(places.first))
        named = pc.index_in(maps.keys, value_set=pa.array(_REGIONS))
        if named.null_count == len(named):
            return pa.repeat(pa.scalar(""), len(batch))
        for number in reversed(range(len(_REGIONS))):
            at = np.flatnonzero(pc.fill_null(pc.equal(named, number), False).to_numpy(zero_copy_only=False))
            owner = np.searchsorted(maps.offsets.to_numpy(), at, side="right") - 1
            mask = np.zeros(len(found), dtype=np.bool_)
            mask[owner] = True
            found = pc.replace_with_mask(found, pa.array(mask), maps.items.take(pa.array(at)))
        return found.take(pa.array(places.of))
