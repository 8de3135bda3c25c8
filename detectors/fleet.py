"""The fleet stage as one object: points and sightings in; closed minutes, changes and incidents out.

The fleet process drives it from the eventlog and `replay` drives it from files or from stored windows; neither adds a
rule of its own, so that all of them find the same incidents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import structlog

from detectors.changes.change import Change
from detectors.changes.ledger import Ledger
from detectors.engine import Engine
from detectors.incidents.control import Order
from detectors.incidents.incident import Incident
from detectors.incidents.incidents import Incidents
from detectors.incidents.objectives import Objectives
from detectors.incidents.orders import Answer, Orders
from detectors.incidents.taken_back import taken_back
from detectors.series.pack import pack, unpack
from detectors.shadow import Shadow, ShadowAlert
from detectors.windows.minute import Minute
from detectors.windows.windower import Windower
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection

_LEAP_KEPT_NS: Final = 6 * 3600 * NS_PER_SECOND
"""How long after a leap of the clocks it may turn out that they were wrong."""
_BEFORE: Final = "before_leap"

_log = structlog.get_logger()


@dataclass(slots=True)
class FleetOutput:
    """What a step gives, in order of event time."""

    minutes: list[Minute] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    """Incidents that opened or changed, as they were then; the same id comes again."""
    shadow: list[ShadowAlert] = field(default_factory=list)
    """What detectors in shadow would have paged, when it would have opened and when it would have ended."""
    leapt: bool = False
    """The minutes come after a leap of the sources' clocks."""
    went_back: bool = False
    """The minutes since the last leap are taken back: those of here come in their place."""


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
        self._before: _Before | None = None

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
        return self.close()

    def close(self) -> FleetOutput:
        """Step on the minutes that are complete by now.

        Where the clocks of all sources have leapt ahead and were set back, what was closed in between is taken back.
        """
        watermark_ns = self.windower.watermark_ns or 0
        if leapt := self.windower.leapt():
            self._remember(_Before(self.windower.next_ns, watermark_ns, self._snapshot()))
        elif self._before is not None and watermark_ns > self._before.leapt_ns + _LEAP_KEPT_NS:
            self._remember(None)
        gone = self._go_back(self._before) if self._before is not None and self.windower.went_back else None
        output = self.step(self.windower.closed())
        output.leapt, output.went_back = leapt, gone is not None
        output.incidents[:0] = gone or ()
        return output

    def step(self, minutes: Iterable[Minute]) -> FleetOutput:
        """Take in closed minutes, in order and without gaps."""
        output = FleetOutput()
        for minute in minutes:
            output.minutes.append(minute)
            self.orders.step(minute.end_ns)
            output.changes += self.ledger.step(minute, self.engine)
            alerts = self.engine.step(minute)
            output.shadow += self.shadow.step(minute, self.engine, alerts)
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
        before = self._before
        kept = {} if before is None else {_BEFORE: before.state()}
        return pack(self._snapshot() | kept)

    def _snapshot(self) -> dict[str, Any]:
        return {name: np.frombuffer(part.snapshot(), dtype=np.uint8) for name, part in self._parts.items()}

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot as if nothing had happened; a part that was not in it yet begins anew.

        Raises InvalidError for one of another version, except that the ledger alone begins anew.
        """
        saved = unpack(state)
        for name, part in self._parts.items():
            if name in saved:
                self._put_back(name, part, saved[name].tobytes())
        self._remember(_Before(**saved[_BEFORE]) if _BEFORE in saved else None)

    def begin(self, state: bytes) -> None:
        """Begin with the snapshot of a fleet that learned from recorded traffic: its sources are gone, and of the time
        since then nothing is known. Raises InvalidError for anything else."""
        self.restore(state)
        self.step(self.windower.rest())
        self.windower.resume()
        self.engine.resume()

    def _remember(self, before: _Before | None) -> None:
        self._before = before
        self.windower.back_to_ns = None if before is None else before.next_ns

    def _go_back(self, before: _Before) -> list[Incident]:
        """Be as before the last leap, but for what people have said; incidents that are no more by that."""
        later = [*self.incidents.cases, *self.objectives.cases]
        for name, part in self._parts.items():
            if name not in ("windower", "orders"):
                self._put_back(name, part, before.parts[name].tobytes())
        self.windower.go_back(before.parts["windower"].tobytes())
        self._remember(None)
        _log.warning("clocks were set back: the minutes since they had leapt ahead are taken back")
        return taken_back(later, [*self.incidents.cases, *self.objectives.cases])

    def _put_back(self, name: str, part: _Part, state: bytes) -> None:
        """Give a part its state. A ledger of another version begins anew: an hour later it knows again what agents run
        on, while the statistics and the open incidents would take days."""
        try:
            part.restore(state)
        except (InvalidError, LookupError, TypeError, ValueError) as error:
            if name != "ledger":
                raise
            _log.warning("the ledger of changes can not be read and begins anew", error=str(error))
            self.ledger = Ledger()

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


@dataclass(frozen=True, slots=True)
class _Before:
    """How everything was before the sources' clocks leapt ahead."""

    next_ns: int
    """The oldest minute that was open."""
    leapt_ns: int
    """Where the clocks went."""
    parts: dict[str, Any]

    def state(self) -> dict[str, Any]:
        return {"next_ns": self.next_ns, "leapt_ns": self.leapt_ns, "parts": self.parts}


class _Part(Protocol):
    def snapshot(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...
