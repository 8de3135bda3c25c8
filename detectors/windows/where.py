"""When and where facts happened: the window that a fact belongs to, and the columns that name its series."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import Rows, TraceBatch, mask_of
from detectors.windows.keys import Column, column, constant, either, grouped
from dimwatch.records import POINT_WIDTH_NS

_REGIONS: Final = ("cloud.region", "deployment.region", "cloud.availability_zone")
"""Resource attributes that name a region, the best first."""


class Where:
    """Of one batch. `due_ns` and `owner` by trace."""

    def __init__(self, batch: TraceBatch, due_ns: Rows, lateness_ns: int, owner: Rows) -> None:
        self._batch = batch
        self._due = due_ns
        self._lateness = lateness_ns
        self._owner = owner

    def owner(self, rows: Rows) -> Rows:
        """Whom facts on span rows belong to: facts of different owners are not added up."""
        owner: Rows = self._owner[self._batch.trace[rows]]
        return owner

    def window_ns(self, rows: Rows, end_ns: Rows, width_ns: int = POINT_WIDTH_NS) -> Rows:
        """The start of the window of facts that ended at `end_ns` on span rows `rows`."""
        due = self._due[self._batch.trace[rows]]
        time: Rows = np.clip(end_ns, due - self._lateness, due)
        return time - time % width_ns

    def keys(self, subject: str, rows: Rows, **own: Column) -> dict[str, Column]:
        """The key columns of facts on `rows`, in the order of POINT; `own` are those of the subject."""
        nothing = constant("", len(rows))
        return {
            "tenant": self.column("tenant").at(rows),
            "subject": constant(subject, len(rows)),
            "agent": self.agents.at(rows),
            "provider": own.get("provider", nothing),
            "model": own.get("model", nothing),
            "tool": own.get("tool", nothing),
            "release": self.column("service_version").at(rows),
            "region": self.regions.at(rows),
        }

    def column(self, name: str) -> Column:
        """A string column of spans that has no nulls, by span row."""
        return Column(*self._batch.encoded(name))

    @cached_property
    def agents(self) -> Column:
        """By span row: the agent, or the service where no agent is named."""
        return either(column(self._batch.agent), self.column("service"))

    @cached_property
    def regions(self) -> Column:
        """By span row: the region of its service in its trace, "" where the resource names none."""
        batch = self._batch
        places = grouped([self.column("service")], batch.trace)
        maps = batch.take("resource_attributes", places.first)
        named = pc.index_in(maps.keys, value_set=pa.array(_REGIONS))
        if named.null_count == len(named):
            return constant("", len(batch))
        found = pa.repeat(pa.scalar(""), len(places.first))
        for number in reversed(range(len(_REGIONS))):
            at = np.flatnonzero(mask_of(pc.equal(named, number)))
            mask = np.zeros(len(found), dtype=np.bool_)
            mask[np.searchsorted(maps.offsets.to_numpy(), at, side="right") - 1] = True
            found = pc.replace_with_mask(found, pa.array(mask), maps.items.take(pa.array(at)))
        return column(found).at(places.of)
