"""The real engine and ledger, and the incidents that come of them."""

from __future__ import annotations

from detectors.changes.ledger import Ledger
from detectors.engine import Engine
from detectors.incidents.incident import Incident, Kind, Status
from detectors.incidents.incidents import Incidents
from detectors.notify.page import incidents_of
from detectors.notify.texts import pictured
from detectors.windows.minute import MINUTE_NS
from dimwatch.records import INCIDENT, table_from_rows
from dimwatch.settings import Detection
from tests.fleet_minutes import START_NS, Agent, minutes

CALM, BAD, AFTER = 300, 40, 60


def test_calls_that_fail_at_one_provider_are_one_incident_of_that_provider() -> None:
    models = {"support": "gpt-a", "sales": "gpt-a", "coder": "gpt-b"}
    well = [Agent(name, model=model) for name, model in models.items()]
    others = [Agent(name, provider="anthropic", model="claude") for name in ("travel", "research")]
    ill = [agent.like(errors=0.3) for agent in well]
    engine, ledger, incidents = Engine(Detection()), Ledger(), Incidents()
    told: list[Incident] = []
    for minute in minutes([(CALM, well + others), (BAD, ill + others), (AFTER, well + others)]):
        ledger.step(minute, engine)
        told += incidents.step(minute, engine.step(minute), engine, ledger)
    told += incidents.finish()
    opened, final = told[0], told[-1]
    assert {incident.id for incident in told} == {opened.id}
    assert (opened.version, opened.kind) == (1, Kind.BROWNOUT)
    assert opened.line()["scope"] == final.line()["scope"] == {"provider": "openai"}
    assert CALM < (opened.opened_ns - START_NS) / MINUTE_NS <= CALM + 10
    assert abs((opened.started_ns - START_NS) / MINUTE_NS - CALM) <= 3
    assert final.status is Status.RESOLVED
    assert final.resolved_ns is not None
    assert CALM + BAD < (final.resolved_ns - START_NS) / MINUTE_NS <= CALM + BAD + 15
    assert final.summary.startswith("openai: failing calls rose from 2")
    assert final.summary.endswith("on 3 agents.")
    before, since = drawn(opened).split("│")
    assert len(before) >= 10
    assert max(before) <= "▂" < "▄" <= min(since), "by the minute, as it begins"
    before, since = drawn(final).split("│")
    assert max(before) <= "▂" < "▆" <= min(since[:4])
    assert since[-1] <= "▂", "by ten minutes, until it is over"
    assert 100 < final.runs < 3 * 5 * BAD


def drawn(incident: Incident) -> str:
    """The bars that a page shows."""
    (told,) = incidents_of(table_from_rows(INCIDENT, [incident.row()]))
    picture = pictured(told)
    assert picture is not None
    assert picture["legend"].startswith("failing calls since")
    return picture["bars"]
