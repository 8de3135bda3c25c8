"""The demo in process, without waiting: its past, then minutes of the live fleet with the first fault."""

from __future__ import annotations

import pytest

from detectors.fleet import Fleet
from detectors.incidents.incident import Incident
from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import merged, merged_sightings
from dimwatch.app import demo
from dimwatch.app.pipeline import Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Settings
from dimwatch.simulate import options
from dimwatch.simulate.export import Export
from dimwatch.simulate.fleet import Fleet as Simulation
from ingest.normalize import Request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START_NS = 1_790_000_000 * NS_PER_SECOND


def test_the_first_fault_is_the_first_incident_within_minutes() -> None:
    settings = Settings()
    state = demo.learned(settings, START_NS, lambda: None, lambda: False)
    assert state is not None
    fleet = Fleet(settings.detection)
    fleet.begin(state)
    found = live(settings, fleet, minutes=7)
    opened = [incident for incident in found if incident.opened_ns >= START_NS]
    assert {(incident.kind.value, incident.scope.of) for incident in opened} == {
        ("brownout", (("provider", "openai"),))
    }
    after_s = demo.ACTS[0].start_s
    assert opened[0].opened_ns < START_NS + after_s * NS_PER_SECOND + 4 * MINUTE_NS


def live(settings: Settings, fleet: Fleet, minutes: int) -> list[Incident]:
    """What the fleet tells when the simulation runs on, judged every ten seconds."""
    told = demo.words(START_NS)
    since_ns = options.start_ns(told[told.index("--since") + 1], START_NS)
    effects = [told[place + 1] for place, word in enumerate(told) if word == "--effect"]
    simulation = Simulation(
        1, since_ns, START_NS + minutes * MINUTE_NS, demo.RATE, scenario=options.scenario(since_ns, effects)
    )
    pipeline, found = Pipeline(settings), []
    waiting: list[Export] = []
    due_ns = START_NS
    for export in simulation.requests():
        if export.due_ns > due_ns:
            requests = [(one.signal, Request(one.body, max(one.due_ns, START_NS))) for one in waiting]
            traces, logs = ([of for signal, of in requests if signal == kind] for kind in ("traces", "logs"))
            output = pipeline.add(traces, logs, now_ns=due_ns, record=0)
            points, sightings = merged(output.points), merged_sightings(output.sightings)
            found += fleet.add(points, sightings, source="worker", watermark_ns=due_ns).incidents
            waiting.clear()
            due_ns += 10 * NS_PER_SECOND
        waiting.append(export)
    return found
