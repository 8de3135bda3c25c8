"""The fleet stage as one object: points and sightings in; closed minutes, changes and incidents out.

The fleet process drives it from the eventlog and `replay` drives it from files or from stored windows; neither adds a
rule of its own, so that all of them find the same incidents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from detectors.changes.change import Change
from detectors.changes.ledger import Ledger
from detectors.engine import Engine
from detectors.incidents.control import Order
from detectors.incidents.incident import Incident
from detectors.incidents.incidents import Incidents
from detectors.incidents.objectives import Objectives
from detectors.incidents.orders import Answer, Orders
from detectors.series.pack import pack, unpack
from detectors.shadow import Shadow, ShadowAlert
from detectors.windows.minute import Minute
from detectors.windows.windower import Windower
from dimwatch.settings import Detection


@dataclass(slots=True)
class FleetOutput:
    """What a step gives, in order of event time."""

    minutes: list[Minute] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    """Incidents that opened or changed, as they were then; the same id comes again."""
    shadow: list[ShadowAlert] = field(default_factory=list)
    """What detectors in shadow would have paged, when it would have opened and when it would have ended."""


class Fleet:
    """Not thread-safe. The same points give the same incidents, in whatever portions they come."""

    def __init__(self, settings: Detection) -> None:
        """Raises InvalidError for an objective that can not be evaluated."""
        self.windower = Windower(settings)
        self.engine = Engine(settings)
        self.ledger = Ledger()
        self.orders = Orders()
        self.incidents = Incidents(self.orders.silences)
        self.objectives = Objectives(settings, self.orders.silences)
        self.shadow = Shadow(settings)

    @property
    def open(self) -> int:
        """How many incidents are open."""
        return self.incidents.open + self.objectives.open

    def tell(self, order: Order) -> Answer:
        """Somebody said something of an incident: it counts at once, for the statistics from the next minute on."""
        return self.orders.obey(order, [*self.incidents.cases, *self.objectives.cases])

    def add(
        self, points: pa.Table | None, sightings: pa.Table | None, *, source: str, watermark_ns: int
    ) -> FleetOutput:
        """Take in what one worker has measured; None for what the message does not speak of. `watermark_ns`: everything
        that was due until then is in."""
        self.windower.add(points, sightings, source=source, watermark_ns=watermark_ns)
        return self.step(self.windower.closed())

    def step(self, minutes: Iterable[Minute]) -> FleetOutput:
        """Take in closed minutes, in order and without gaps."""
        output = FleetOutput()
        for minute in minutes:
            output.minutes.append(minute)
            self.orders.step(minute.end_ns)
            output.changes += self.ledger.step(minute, self.engine)
            alerts = self.engine.step(minute)
            output.shadow += self.shadow.step(minute, self.engine)
            output.incidents += self.incidents.step(minute, alerts, self.engine, self.ledger)
            output.incidents += self.objectives.step(minute)
        return output

    def finish(self) -> FleetOutput:
        """The input has ended: close what is open, and say how every incident stands."""
        output = self.step(self.windower.rest())
        output.incidents += self.incidents.finish()
        output.incidents += self.objectives.finish()
        output.shadow += self.shadow.finish()
        return output

    def snapshot(self) -> bytes:
        """All state, exactly."""
        return pack({name: np.frombuffer(part.snapshot(), dtype=np.uint8) for name, part in self._parts.items()})

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot as if nothing had happened; a part that was not in it yet begins anew.

        Raises InvalidError for one of another version.
        """
        saved = unpack(state)
        for name, part in self._parts.items():
            if name in saved:
                part.restore(saved[name].tobytes())

    def begin(self, state: bytes) -> None:
        """Begin with the snapshot of a fleet that learned from recorded traffic: its sources are gone, and of the time
        since then nothing is known. Raises InvalidError for anything else."""
        self.restore(state)
        self.step(self.windower.rest())
        self.windower.resume()
        self.engine.resume()

    @property
    def _parts(self) -> dict[str, _Part]:
        return {
            "windower": self.windower,
            "engine": self.engine,
            "ledger": self.ledger,
            "orders": self.orders,
            "incidents": self.incidents,
            "objectives": self.objectives,
            "shadow": self.shadow,
        }


class _Part(Protocol):
    def snapshot(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...
