"""What there is to find when every request arrives once, when it is due, and nothing ever breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from detectors.fleet import Fleet, FleetOutput
from detectors.incidents.incident import Kind, Severity
from detectors.windows.points import merged, merged_sightings
from dimwatch import records
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.eventlog.base import Record
from dimwatch.settings import Settings
from ingest.otlp.topic_door import TopicDoor

Finding = tuple[str, str, str, str]
"""Rule, trace id, span id, tool."""
Page = tuple[str, str, str, str, str]
"""Kind, provider, model, agent, tool of an incident that somebody is woken for."""
_SCOPE: Final = ("provider", "model", "agent", "tool")
_BATCH: Final = 64


def as_sent(settings: Settings, requests: Path) -> tuple[set[Finding], set[Page]]:
    """Findings and pages of the requests that an `Oracle` has kept."""
    pipeline, fleet, door = Pipeline(settings), begun(settings), TopicDoor(settings)
    found: set[Finding] = set()
    pages: dict[str, Page] = {}

    def take(output: Output, now_ns: int) -> None:
        for table in output.observations:
            found.update(zip(*table.select(["rule", "trace_id", "span_id", "tool"]).to_pydict().values(), strict=True))
        points, sightings = merged(output.points), merged_sightings(output.sightings)
        tell(fleet.add(points, sightings, source="sent", watermark_ns=now_ns))

    def tell(output: FleetOutput) -> None:
        for incident in output.incidents:
            provider, model, agent, tool = (incident.scope.value(name) for name in _SCOPE)
            pages.pop(incident.id, None)
            if is_page(incident.kind, incident.severity):
                pages[incident.id] = (incident.kind.value, provider, model, agent, tool)

    now_ns = 0
    for number, paths in enumerate(_batches(sorted(requests.glob("*.pb")))):
        arrived = [_record(path, number) for path in paths]
        traces, logs = (
            list(door.requests(record for record in arrived if record.topic == topic))
            for topic in (records.OTLP_SPANS, records.OTLP_LOGS)
        )
        now_ns = arrived[-1].timestamp_ns
        take(pipeline.add(traces, logs, now_ns=now_ns, record=number), now_ns)
    take(pipeline.flush(), now_ns)
    tell(fleet.finish())
    return found, set(pages.values())


def begun(settings: Settings) -> Fleet:
    """A fleet stage at its beginning."""
    fleet = Fleet(settings.detection)
    if settings.detection.state is not None:
        fleet.begin(settings.detection.state.read_bytes())
    return fleet


def is_page(kind: str, severity: str) -> bool:
    """Whether an incident wakes somebody. The silence after the last request is not counted: files have none."""
    return severity != Severity.TICKET and kind != Kind.SILENCE


def _record(path: Path, number: int) -> Record:
    topic = records.OTLP_LOGS if path.name.endswith(".logs.pb") else records.OTLP_SPANS
    due_ns = int(path.name.partition(".")[0].partition("-")[2])
    return Record(topic, 0, number, due_ns, path.read_bytes())


def _batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))
