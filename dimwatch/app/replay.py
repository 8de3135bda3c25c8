"""Recorded OTLP through the stages that run live, without a server: observations and incidents, then a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from detectors.fleet import Fleet
from detectors.incidents.incident import Incident
from detectors.shadow import ShadowAlert
from detectors.windows.points import merged, merged_sightings
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.clock import NS_PER_SECOND, rfc3339
from dimwatch.errors import DimwatchError
from dimwatch.settings import MIB, Settings
from ingest.normalize import Request
from ingest.otlp.admission import Limits
from ingest.otlp.files import Entry, Index, Problem, Recordings
from ingest.otlp.signals import LOGS, METRICS, TRACES
from ingest.redaction import Redactor

FORMAT: Final = 1
"""Version of the output; docs/replay.md describes it. A change that breaks a reader raises it."""

_BATCH_REQUESTS: Final = 1024
_BATCH_BYTES: Final = 16 * MIB
_BATCH_NS: Final = 1800 * NS_PER_SECOND

Progress = Callable[[int, int], None]
"""Called with what is done, requests or minutes, and how much there is in all."""


@dataclass(slots=True)
class Tally:
    """What went through: for the summary."""

    requests: int = 0
    spans: int = 0
    traces: int = 0
    incomplete_traces: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    observations: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def line(self) -> dict[str, object]:
        """The last line of the output."""
        return {
            "type": "summary",
            "format": FORMAT,
            "requests": self.requests,
            "spans": self.spans,
            "traces": self.traces,
            "incomplete_traces": self.incomplete_traces,
            "unreadable": len(self.problems),
            "dropped": dict(sorted(self.dropped.items())),
            "observations": dict(sorted(self.observations.items())),
            "incidents": dict(sorted(self.incidents.items())),
            "shadow": dict(sorted(self.shadow.items())),
        }


class Replay:
    """One run over recorded files."""

    def __init__(self, settings: Settings, *, keep_state: bool = False) -> None:
        """`keep_state`: put into `state` what the fleet stage knows at the end of the input."""
        self._keep_state = keep_state
        self.state: bytes | None = None
        limits = Limits.of(settings.receiver)
        redactor = Redactor() if settings.redaction.enabled else None
        self._pipeline = Pipeline(settings)
        self._fleet = Fleet(settings.detection)
        self._recordings = Recordings(limits, int(settings.receiver.max_decompressed), redactor)
        self.tally = Tally()

    def run(self, paths: Iterable[Path], progress: Progress | None = None) -> Iterator[dict[str, object]]:
        """Yield the output's lines, observations and incidents in order of record time, and the summary last."""
        with self._recordings:
            index = self._recordings.index(paths)
            self.tally.problems += index.problems
            self.tally.dropped.update({"not_otlp_file": len(index.skipped)} if index.skipped else {})
            yield from self._lines(self._feed(index, progress))
        yield self.tally.line()

    def _feed(self, index: Index, progress: Progress | None) -> Iterator[tuple[Output, int]]:
        """What comes out, and the record time up to which that is all."""
        now_ns = number = size = begun_ns = held = 0
        traces: list[Request] = []
        logs: list[Request] = []
        for done, entry in enumerate(index.entries):
            if held >= _BATCH_REQUESTS or size >= _BATCH_BYTES or (held and entry.last_ns - begun_ns > _BATCH_NS):
                yield self._pipeline.add(traces, logs, now_ns=now_ns, record=number), now_ns
                traces, logs, held, size, number = [], [], 0, 0, number + 1
                if progress is not None:
                    progress(done, len(index.entries))
            begun_ns = begun_ns if held else entry.last_ns
            # A request is taken to have arrived when its last span ended.
            now_ns = max(now_ns, entry.last_ns)
            for body in self._bodies(entry):
                size += len(body)
                if entry.signal is not METRICS:
                    (traces if entry.signal is TRACES else logs).append(Request(body, now_ns))
            held += 1
        yield self._pipeline.add(traces, logs, now_ns=now_ns, record=number), now_ns
        if progress is not None and index.entries:
            progress(len(index.entries), len(index.entries))
        if self._keep_state:
            # Before anything is closed because the input ends: for who begins with it, it does not.
            self.state = self._fleet.snapshot()
        yield self._pipeline.flush(), now_ns

    def _bodies(self, entry: Entry) -> Iterator[bytes]:
        try:
            admitted = self._recordings.read(entry)
        except DimwatchError as error:
            self.tally.problems.append(Problem(entry.path, entry.line, str(error)))
            return
        self.tally.requests += 1
        for (_what, reason), count in admitted.dropped.items():
            self.tally.dropped[str(reason)] += count
        if entry.signal is METRICS:
            self.tally.dropped["metrics_not_read"] += admitted.items
        elif entry.signal is LOGS or admitted.items:
            yield from (piece.body for piece in admitted.pieces)

    def _lines(self, outputs: Iterator[tuple[Output, int]]) -> Iterator[dict[str, object]]:
        for output, now_ns in outputs:
            self.tally.spans += output.arrived
            self.tally.dropped.update({reason: count for (_, reason), count in output.dropped.items()})
            self.tally.dropped.update({"malformed": len(output.malformed)} if output.malformed else {})
            for traces in output.traces:
                self.tally.traces += traces.num_rows
                self.tally.incomplete_traces += pc.sum(pc.invert(traces["complete"])).as_py() or 0
            for table in output.observations:
                self.tally.observations.update(table["rule"].to_pylist())
            fleet = self._fleet.add(
                merged(output.points), merged_sightings(output.sightings), source="replay", watermark_ns=now_ns
            )
            yield from in_order(
                chain(
                    *map(observation_lines, output.observations),
                    incident_lines(fleet.incidents, self.tally.incidents),
                    shadow_lines(fleet.shadow, self.tally.shadow),
                )
            )
        last = self._fleet.finish()
        yield from in_order(
            chain(
                incident_lines(last.incidents, self.tally.incidents),
                shadow_lines(last.shadow, self.tally.shadow),
            )
        )


_COPIED: Final = (
    "rule", "severity", "confidence", "trace_id", "span_id", "service", "agent", "provider", "model", "tool",
    "summary",
)  # fmt: skip


Line = tuple[int, dict[str, object]]
"""A line and its time."""


def in_order(lines: Iterable[Line]) -> Iterator[dict[str, object]]:
    """Lines by time; those of one time as they come."""
    return (line for _, line in sorted(lines, key=lambda item: item[0]))


def observation_lines(table: pa.Table) -> Iterator[Line]:
    """Observation rows as the output's lines, in order of time, trace and rule."""
    times = table["time"].cast(pa.int64())
    table = table.append_column("time_ns", times).drop_columns(["time"])
    for row in table.sort_by([("time_ns", "ascending"), ("trace_id", "ascending"), ("rule", "ascending")]).to_pylist():
        line: dict[str, object] = {"type": "observation"}
        line |= {name: row[name] for name in _COPIED}
        line["time"] = rfc3339(row["time_ns"], 9)
        line["evidence"] = orjson.loads(row["evidence"])
        yield row["time_ns"], line


def incident_lines(incidents: Iterable[Incident], kinds: Counter[str]) -> Iterator[Line]:
    """Incidents as the output's lines: when they open, and as they are in the end; those are counted in `kinds`."""
    for incident in incidents:
        if incident.settled:
            kinds[incident.kind.value] += 1
            yield incident.resolved_ns or incident.opened_ns, incident.line()
        elif incident.version == 1:
            yield incident.opened_ns, incident.line()


def shadow_lines(alerts: Iterable[ShadowAlert], plugins: Counter[str]) -> Iterator[Line]:
    """What detectors in shadow would have paged as the output's lines, once it is over; counted in `plugins`."""
    for alert in alerts:
        if alert.final:
            plugins[alert.plugin] += 1
            yield alert.ended_ns or alert.opened_ns, alert.line()
