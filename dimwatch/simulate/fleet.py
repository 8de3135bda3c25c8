"""The fleet in virtual time: who runs when, and the export requests that its SDKs would send.

Nothing here waits or sends. `Fleet.requests` yields requests in the order in which they fall due; the same
seed, start and length give the same bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from math import cos, tau
from typing import Final

from dimwatch.simulate import faults
from dimwatch.simulate.agents import FLEET
from dimwatch.simulate.agents.base import Agent
from dimwatch.simulate.build import build_run
from dimwatch.simulate.conventions import CONVENTIONS
from dimwatch.simulate.conventions.base import SIGNALS, Emitted, Signal
from dimwatch.simulate.export import SCHEDULE_DELAY_NS, Export, Queue
from dimwatch.simulate.models import NS
from dimwatch.simulate.rng import stream
from dimwatch.simulate.runs import Run
from dimwatch.simulate.scenario import Kind, Scenario

BLOCK_S: Final = 10
"""Length of the blocks in which the rate of an agent is constant."""
_RECENT: Final = 30
"""Conversations of an agent that may still go on."""


def diurnal(at_ns: int) -> float:
    """Traffic at a time of day relative to the mean (UTC).

    Two harmonics fitted to the hourly rates of ServeGen's language/m-small clients (14 days): amplitudes 0.23
    and 0.18, peaks at 16.9 h, and at 9.2 and 21.2 h.
    """
    hour = at_ns / NS / 3600 % 24
    return 1 + 0.23 * cos(tau * (hour - 16.9) / 24) + 0.18 * cos(2 * tau * (hour - 9.2) / 24)


@dataclass(frozen=True, slots=True)
class Label:
    """The truth about one trace."""

    trace_id: str
    time: str
    service: str
    agent: str
    convention: str
    faults: tuple[str, ...]
    detail: str
    scenario: tuple[str, ...]


@dataclass
class Fleet:
    """Six agents between two times. `rate` is traces a second, the fleet's mean over a day."""

    seed: int
    start_ns: int
    end_ns: int | None
    """None means for ever. A run that would not end by then is not started."""
    rate: float
    shares: Mapping[str, float] = field(default_factory=lambda: faults.DEFAULT_SHARES)
    scenario: Scenario = field(default_factory=Scenario)
    agents: tuple[Agent, ...] = FLEET
    traces: int = 0
    """Traces whose last span has been exported, or will never be."""
    spans: int = 0
    """Spans built; some of them may still wait for their time."""
    _open: list[tuple[int, str, Label]] = field(default_factory=list)
    _labels: list[Label] = field(default_factory=list)

    def runs(self) -> Iterator[tuple[int, list[Run]]]:
        """Blocks of time: (end of the block, runs that start in it)."""
        total = sum(agent.share for agent in self.agents)
        numbers = {agent.service: count() for agent in self.agents}
        recent: dict[str, list[tuple[str, str]]] = {agent.service: [] for agent in self.agents}
        for block in count():
            begin = self.start_ns + block * BLOCK_S * NS
            if self.end_ns is not None and begin >= self.end_ns:
                return
            runs = []
            for agent in self.agents:
                for at in self._arrivals(agent, block, begin, self.rate * agent.share / total):
                    run = self._run(agent, next(numbers[agent.service]), at, recent[agent.service])
                    if self.end_ns is None or run.end_ns < self.end_ns:
                        runs.append(run)
            yield begin + BLOCK_S * NS, runs

    def requests(self) -> Iterator[Export]:
        """Export requests in order of time."""
        order = count()
        queues: dict[tuple[str, Signal], Queue] = {
            (agent.service, signal): Queue(agent, signal, self.start_ns, self.seed)
            for agent in self.agents
            for signal in SIGNALS
        }
        # What happens when: a span or log record ends (with its queue), or a queue's timer fires.
        agenda: list[tuple[int, int, Emitted | None, Queue]] = [
            (queue.next_tick, next(order), None, queue) for queue in queues.values()
        ]
        heapq.heapify(agenda)
        for block_end, runs in self.runs():
            for run in runs:
                heapq.heappush(self._open, (run.end_ns, run.trace_id.hex(), label(run)))
                for item in CONVENTIONS[run.agent.convention].emit(run):
                    self.spans += item.signal == "traces"
                    queue = queues[run.agent.service, item.signal]
                    heapq.heappush(agenda, (item.time_ns, next(order), item, queue))
            while agenda[0][0] < block_end:
                _, _, ended, queue = heapq.heappop(agenda)
                if ended is None:
                    export = queue.tick()
                    heapq.heappush(agenda, (queue.next_tick, next(order), None, queue))
                else:
                    export = queue.add(ended)
                if export is not None:
                    self._finish(export.due_ns - SCHEDULE_DELAY_NS["traces"])
                    yield export
        for queue in queues.values():
            export = queue.flush(self.end_ns or 0)
            if export is not None:
                yield export
        self._finish(None)

    def take_labels(self) -> list[Label]:
        """The truth about the traces that are over since the last call; of all when `requests` has ended."""
        taken, self._labels = self._labels, []
        return taken

    def _finish(self, until_ns: int | None) -> None:
        """Count traces as over that ended by then: the exporter has sent their last span."""
        while self._open and (until_ns is None or self._open[0][0] <= until_ns):
            self._labels.append(heapq.heappop(self._open)[2])
            self.traces += 1

    def _arrivals(self, agent: Agent, block: int, begin: int, rate: float) -> list[int]:
        """Poisson arrivals in one block, its rate modulated by a gamma of mean one."""
        rng = stream(self.seed, "arrivals", agent.service, block)
        burst = rng.gammavariate(agent.burst_shape, 1 / agent.burst_shape)
        rate *= diurnal(begin) * burst
        arrivals: list[int] = []
        elapsed = rng.expovariate(rate) if rate > 0 else BLOCK_S
        while elapsed < BLOCK_S:
            arrivals.append(begin + int(elapsed * NS))
            elapsed += rng.expovariate(rate)
        return [at for at in arrivals if not self.scenario.active(Kind.SILENCE, agent.name, at)]

    def _run(self, agent: Agent, number: int, at: int, recent: list[tuple[str, str]]) -> Run:
        rng = stream(self.seed, "run", agent.service, number)
        fault = faults.draw(rng, self.shares, agent.convention)
        if rng.random() < agent.continues and recent:
            conversation, user = rng.choice(recent)
        else:
            # Few users ask much, many ask once.
            user = f"u-{int(agent.users * rng.random() ** 2):04}"
            conversation = f"{agent.name[:3]}-{rng.getrandbits(40):010x}"
            recent.append((conversation, user))
            del recent[:-_RECENT]
        return build_run(
            agent,
            rng,
            at,
            conversation_id=conversation,
            user_id=user,
            fault=fault,
            scenario=self.scenario,
        )


def label(run: Run) -> Label:
    """The truth about a run."""
    return Label(
        trace_id=run.trace_id.hex(),
        time=datetime.fromtimestamp(run.start_ns / NS, UTC).isoformat(),
        service=run.agent.service,
        agent=run.agent.name,
        convention=run.agent.convention,
        faults=run.faults,
        detail=run.detail,
        scenario=run.scenario,
    )
