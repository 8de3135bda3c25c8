"""Batches as the SDK's batch processors make them: by service and signal, on a timer or when full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dimwatch.simulate import wire
from dimwatch.simulate.agents.base import Agent
from dimwatch.simulate.conventions import CONVENTIONS
from dimwatch.simulate.conventions.base import Emitted, Signal
from dimwatch.simulate.models import NS
from dimwatch.simulate.rng import stream

SCHEDULE_DELAY_NS: Final = {"traces": 5 * NS, "logs": 1 * NS}
MAX_BATCH: Final = 512
"""The defaults of OTEL_BSP_SCHEDULE_DELAY, OTEL_BLRP_SCHEDULE_DELAY and the export batch sizes."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export request, ready to send at `due_ns`."""

    due_ns: int
    signal: Signal
    service: str
    items: int
    body: bytes


class Queue:
    """The batch processor of one service and signal."""

    def __init__(self, agent: Agent, signal: Signal, start_ns: int, seed: int) -> None:
        convention = CONVENTIONS[agent.convention]
        self.signal: Signal = signal
        self._service = agent.service
        self._resource, self._scope = convention.resource(agent), convention.scope
        self._items: list[bytes] = []
        # Processes do not start at the same moment, so their timers do not fire together.
        phase = stream(seed, "phase", agent.service, signal).random()
        self.next_tick = start_ns + int(phase * SCHEDULE_DELAY_NS[signal])

    def add(self, item: Emitted) -> Export | None:
        """Take a span or log record that has just ended; exports at once when the batch is full."""
        self._items.append(item.payload)
        return self.flush(item.time_ns) if len(self._items) >= MAX_BATCH else None

    def tick(self) -> Export | None:
        """The timer fires: export what is waiting."""
        due = self.next_tick
        self.next_tick += SCHEDULE_DELAY_NS[self.signal]
        return self.flush(due)

    def flush(self, due_ns: int) -> Export | None:
        """Export what is waiting, if anything is."""
        if not self._items:
            return None
        items, self._items = self._items, []
        body = wire.request(self._resource, self._scope, items)
        return Export(due_ns, self.signal, self._service, len(items), body)
