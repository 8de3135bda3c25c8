"""The API over a real eventlog, a real store and a fleet stage that knows one incident."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from benchmarks.ports import free_ports
from benchmarks.running import until
from detectors.alerts import Node
from detectors.fleet import Fleet
from detectors.incidents.case import Case
from detectors.incidents.incident import Incident, Kind, Measure, Severity, Status
from detectors.windows.hours import Hours
from dimwatch import records
from dimwatch.app import api
from dimwatch.app.api.application import application
from dimwatch.app.fleet import FleetStage, _encode
from dimwatch.client import ApiClient
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import DimwatchError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord
from dimwatch.http_server import Server
from dimwatch.settings import Api, Canary, SelfTelemetry, Settings, Store

NAMES = tuple(f"{number:016}" for number in range(1, 6))
"""Ids of the incidents that the fleet stage knows; all are open at first."""
PATIENCE_S = 120.0
"""For what a process, a page or the store has yet to do: longer than a page takes until it looks again by itself."""
VIEWER, RESPONDER = "v" * 32, "r" * 32


@dataclass
class Site:
    """All of it, in one folder."""

    settings: Settings
    eventlog: EventLog
    app: FastAPI
    url: str
    clients: list[ApiClient] = field(default_factory=list)

    def client(self, token: str | None = None, user: str = "") -> ApiClient:
        """With that token, or as Dimwatch's own."""
        made = ApiClient.of(self.settings, user or "test") if token is None else ApiClient(self.url, token, user)
        self.clients.append(made)
        return made


def _incident(number: int, id_: str, now_ns: int) -> Incident:
    at_ns = now_ns // NS_PER_SECOND * NS_PER_SECOND - (10 + number) * 60 * NS_PER_SECOND
    return Incident(
        id_,
        "",
        Kind.BROWNOUT,
        Severity.WARNING,
        Status.OPEN,
        Node.make(provider="openai", model=f"gpt-{number}"),
        opened_ns=at_ns,
        started_ns=at_ns - 120 * NS_PER_SECOND,
        measures={"model_speed": Measure("model_speed", 20.0, 50.0, 30.0, at_ns, 100.0)},
        summary="<b>slow</b>",
    )


def _prepare(eventlog: EventLog, settings: Settings, now_ns: int) -> None:
    """A state of the fleet stage with open incidents, and their rows."""
    fleet = Fleet(settings.detection)
    fleet.orders.step(now_ns)
    cases = [Case(_incident(number, id_, now_ns), frozenset(), {"model_speed"}) for number, id_ in enumerate(NAMES)]
    for case in cases:
        case.news(now_ns)
    fleet.incidents._cases = cases
    rows = records.table_from_rows(records.INCIDENT, (case.incident.row() for case in cases))
    state = _encode(fleet.snapshot(), Hours().snapshot())
    eventlog.append({records.FLEET_CHECKPOINTS: [NewRecord(state, now_ns)]})
    eventlog.append({records.INCIDENTS: [NewRecord(records.encode(rows), now_ns)]})


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data: Path = tmp_path_factory.mktemp("api")
    store_port, api_port = free_ports(2)
    settings = Settings(
        data=data,
        store=Store(http_port=store_port),
        api=Api(
            port=api_port,
            viewer_token=SecretStr(VIEWER),
            responder_token=SecretStr(RESPONDER),
            orders_per_minute=100_000,
            requests_per_minute=100_000,
        ),
        canary=Canary(enabled=False),
        telemetry=SelfTelemetry(health_port=0),
    )
    environment = os.environ | {
        "DIMWATCH_DATA": str(data),
        "DIMWATCH_STORE__HTTP_PORT": str(store_port),
        "DIMWATCH_TELEMETRY__HEALTH_PORT": "0",
    }
    store = subprocess.Popen([sys.executable, "-P", "-m", "dimwatch", "store"], env=environment)
    eventlog, clock, stop = open_eventlog(settings), SystemClock(), threading.Event()
    _prepare(eventlog, settings, clock.now_ns())
    stage = FleetStage(settings, eventlog, clock)

    def obey() -> None:
        while not stop.is_set():
            with contextlib.suppress(RetryableError):
                stage.step(0.05)

    app = application(settings, eventlog, clock)
    server = Server(api.config(app))
    threads = [threading.Thread(target=obey), threading.Thread(target=server.run)]
    server.config.port = api_port
    for thread in threads:
        thread.start()
    site = Site(settings, eventlog, app, f"http://127.0.0.1:{api_port}")
    client = site.client()

    def there() -> bool:
        try:
            return len(client.get("incidents")["incidents"]) == len(NAMES)
        except DimwatchError:
            return False

    try:
        until(there, PATIENCE_S, "the incidents are not readable")
        yield site
    finally:
        for made in site.clients:
            made.close()
        stop.set()
        server.should_exit = True
        for thread in threads:
            thread.join(PATIENCE_S)
        stage.close()
        eventlog.close()
        store.terminate()
        store.wait(PATIENCE_S)
