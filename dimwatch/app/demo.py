"""The demo: a simulated fleet whose past is known, and faults on a schedule: an incident stands within minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from detectors.fleet import Fleet
from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import merged, merged_sightings
from dimwatch.app.pipeline import Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Settings
from dimwatch.simulate.export import Export
from dimwatch.simulate.fleet import Fleet as Simulation
from ingest.normalize import Request

RATE: Final = 4.0
"""Traces a second of the live fleet."""
_SENT_AT_ONCE_S: Final = 600
"""So much of the past goes through the receiver at once: traces and findings to look at."""
_LEARNED_S: Final = 9 * 3600
_LEARNED_RATE: Final = 0.25
"""The past that the fleet stage learns from has as little traffic as will do: what is normal is rates and levels, which
do not depend on it, and more traffic than before is no fault."""
_PAST_SEED: Final = 2
"""Not the seed of what is sent: no trace is counted twice."""
_BATCH_NS: Final = 600 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Act:
    """One fault of the demo. Times are seconds since its start."""

    effect: str
    """Kind and place, as `dimwatch simulate --effect` takes them."""
    start_s: int
    length_s: int
    what: str


ACTS: Final = (
    Act("brownout:openai", 60, 600, "the provider openai turns slow, and three calls in ten fail"),
    Act("empty_tool:search_flights", 20 * 60, 600, "the tool search_flights finds nothing any more, without an error"),
    Act(
        "model_change:claude-sonnet-4-5=claude-3-5-haiku-20241022",
        40 * 60,
        900,
        "a smaller model answers for claude-sonnet-4-5",
    ),
)


def words(start_ns: int) -> tuple[str, ...]:
    """What `dimwatch simulate` is told, for a demo that starts at `start_ns`."""
    since = datetime.fromtimestamp(start_ns // NS_PER_SECOND - _SENT_AT_ONCE_S, UTC).isoformat()
    effects = (f"{act.effect}@{_SENT_AT_ONCE_S + act.start_s}s+{act.length_s}s" for act in ACTS)
    return ("--rate", f"{RATE:g}", "--since", since, *(word for effect in effects for word in ("--effect", effect)))


def programme(start_ns: int) -> str:
    """What will happen, for people."""
    lines = [f"  {_clock(start_ns, act.start_s)}  {act.what} ({act.length_s // 60} minutes)" for act in ACTS]
    return "\n".join(lines)


def learned(settings: Settings, now_ns: int, alive: Callable[[], None], stopped: Callable[[], bool]) -> bytes | None:
    """State of a fleet stage that has seen hours of the same fleet, until about `now_ns`, without the scheduled faults.

    `alive` is called every now and then; None when it was `stopped` meanwhile.
    """
    # What is sent at once counts for the minute before it is judged: nothing of that is closed here.
    until_ns = now_ns - now_ns % MINUTE_NS - MINUTE_NS
    pipeline, fleet = Pipeline(settings), Fleet(settings.detection)
    simulation = Simulation(_PAST_SEED, until_ns - _LEARNED_S * NS_PER_SECOND, until_ns, _LEARNED_RATE)
    waiting: list[Export] = []

    def take() -> None:
        judged_ns = waiting[-1].due_ns
        traces, logs = (
            [Request(export.body, export.due_ns) for export in waiting if export.signal == signal]
            for signal in ("traces", "logs")
        )
        output = pipeline.add(traces, logs, now_ns=judged_ns, record=0)
        fleet.add(merged(output.points), merged_sightings(output.sightings), source="past", watermark_ns=judged_ns)
        waiting.clear()

    for export in simulation.requests():
        if waiting and export.due_ns - waiting[0].due_ns > _BATCH_NS:
            take()
        waiting.append(export)
        alive()
        if stopped():
            return None
    if waiting:
        take()
    return fleet.snapshot()


def _clock(start_ns: int, offset_s: int) -> str:
    return f"{datetime.fromtimestamp(start_ns // NS_PER_SECOND + offset_s, UTC).astimezone():%H:%M:%S}"
