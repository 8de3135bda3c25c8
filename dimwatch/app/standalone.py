"""A role that runs by itself: its liveness, its readiness with the reasons, and its metrics, over HTTP.

Under `dimwatch up` the supervisor answers for all, and the roles listen on nothing of the kind.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import structlog
from prometheus_client import generate_latest

from dimwatch.app import endpoint, health
from dimwatch.app.health import HEARTBEAT_FRESH_S, Check, Heart
from dimwatch.app.stopping import Stop
from dimwatch.errors import PermanentError, RetryableError, TakenOverError
from dimwatch.settings import Settings
from dimwatch.store.access import is_loopback

HEALTH_PORT: Final = "telemetry.health_port"
PORTS: Final = {
    "collector": 9465,
    "worker": 9466,
    "fleet": 9467,
    "store": 9468,
    "notifier": 9469,
    "api": 9470,
    "dashboard": 9471,
}
"""Where each role tells of itself unless `telemetry.health_port` says otherwise."""

STUCK_S: Final = 120.0
"""Without a sign of life for that long, only a restart helps. The supervisor of `dimwatch up` is as patient."""

_LOOPS: Final = ("collector", "worker", "fleet", "notifier")
"""Roles whose main loop says that it is alive. The others answer requests, which says the same."""
_FRESH_S: Final = 1.0
_WAIT_S: Final = 0.5
_MAX_WAIT_S: Final = 10.0
_PROVEN_S: Final = 30.0
"""After so long without trouble, the next wait is short again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Need:
    """What a role can not work without: how to see whether it is there, and what to say when it is not."""

    check: Check
    otherwise: str


class Health:
    """Whether this process does its work and, if not, why. Safe to share between threads."""

    def __init__(self, role: str, needs: Mapping[str, Need] | None = None, heart: Heart | None = None) -> None:
        """`heart` is told of every beat: what a supervisor looks at."""
        self._needs = dict(needs or {})
        self._heart = heart
        self._beats = role in _LOOPS
        self._beaten: float | None = None
        self._waiting = ""
        self._draining = False
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._missing: dict[str, str] = {}

    def beat(self, waiting: str = "") -> None:
        """Say "alive" from every turn of the main loop; `waiting`: what it waits for before it can work."""
        self._beaten, self._waiting = time.monotonic(), waiting
        if self._heart is not None and not waiting:
            self._heart.beat()

    def drain(self) -> None:
        """Say that the process finishes what it has begun, and takes no more."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the process was asked to end."""
        return self._draining

    def alive(self) -> bool:
        """Whether a restart would not help."""
        return self._silent_s() < STUCK_S

    def states(self) -> dict[str, str]:
        """The state of the work and of each need, `ready` or why not."""
        return {"work": self._work(), **{name: self._look().get(name, "ready") for name in self._needs}}

    def _work(self) -> str:
        if self._draining:
            return "draining"
        if self._beats and self._beaten is None:
            return "starting"
        silent_s = self._silent_s()
        if silent_s > HEARTBEAT_FRESH_S:
            return f"stuck: no sign of life for {silent_s:.0f} s"
        return self._waiting or "ready"

    def _silent_s(self) -> float:
        return time.monotonic() - self._beaten if self._beats and self._beaten is not None else 0.0

    def _look(self) -> dict[str, str]:
        """What is missing, looked at once a second at most, however many ask."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH_S:
                self._missing = asyncio.run(missing(self._needs))
                self._looked = time.monotonic()
            return self._missing


async def missing(needs: Mapping[str, Need]) -> dict[str, str]:
    """What is not there of what is needed, and what to say of it."""
    there = await asyncio.gather(*(need.check() for need in needs.values()))
    return {name: need.otherwise for (name, need), found in zip(needs.items(), there, strict=True) if not found}


@contextmanager
def serving(settings: Settings, role: str) -> Iterator[Health]:
    """The health of this process, told over HTTP while the block runs.

    Raises PermanentError when the port is taken, or open to a network for everybody.
    """
    telemetry = settings.telemetry
    port = PORTS[role] if telemetry.health_port is None else telemetry.health_port
    if not port:
        yield Health(role, heart=Heart(settings.data, role))
        return
    token = telemetry.token.get_secret_value() if telemetry.token is not None else ""
    if not token and not is_loopback(telemetry.health_host):
        raise PermanentError(
            f"telemetry.health_host {telemetry.health_host!r} can be reached from other machines, so a token is needed "
            "for metrics: set telemetry.token (DIMWATCH_TELEMETRY__TOKEN), or listen on 127.0.0.1"
        )
    own = Health(role, needs(settings, role))
    started = time.monotonic()

    def status() -> endpoint.Status:
        uptime_s = round(time.monotonic() - started, 1)
        return {
            "version": metadata.version("dimwatch"),
            "role": role,
            "pid": os.getpid(),
            "uptime_s": uptime_s,
            "states": own.states(),
        }

    door = endpoint.Door(
        port, f"choose another with --health-port ({HEALTH_PORT}), or 0 for none", telemetry.health_host, token
    )
    with endpoint.served(door, generate_latest, own.states, status, own.alive):
        yield own


def keep_running(work: Callable[[], None], health: Health) -> None:
    """Run a role; again, after a while, when it had to give up because something was away that may come back.

    Returns when `work` does, or on SIGTERM or SIGINT while it waits. When it was asked to end, an error is raised:
    whoever asked does not wait for another beginning.
    """
    wait_s = _WAIT_S
    while True:
        started = time.monotonic()
        try:
            return work()
        except (RetryableError, TakenOverError) as error:
            stop = Stop.by_signals()
            if health.draining or stop.requested:
                raise
            wait_s = _WAIT_S if time.monotonic() - started > _PROVEN_S else min(2 * wait_s, _MAX_WAIT_S)
            _log.warning("begins anew", error=str(error), in_s=wait_s)
            health.beat(f"waits: {error}")
        if stop.sleep(wait_s):
            return None


def needs(settings: Settings, role: str) -> dict[str, Need]:
    """What a role can not work without, beside its own loop."""
    found: dict[str, Need] = {}
    if role != "dashboard" and settings.eventlog.backend == "kafka":
        found["eventlog"] = _kafka(settings.eventlog.kafka.bootstrap_servers)
    store = settings.store
    if role in ("store", "api", "dashboard"):
        answers = health.http(store.host, store.http_port, "/ping")
        found["store"] = Need(
            health.tcp(store.host, store.http_port) if store.tls else answers,
            f"unreachable: no ClickHouse interface answers at {store.host}:{store.http_port}",
        )
    if role == "collector":
        receiver = settings.receiver
        found["doors"] = Need(
            health.tcp(receiver.host, receiver.grpc_port, receiver.http_port),
            f"nothing listens on ports {receiver.grpc_port} and {receiver.http_port} yet",
        )
    if role == "api":
        place = f"{settings.api.host}:{settings.api.port}"
        found["doors"] = Need(health.tcp(settings.api.host, settings.api.port), f"nothing listens on {place} yet")
    if role == "dashboard":
        place = f"{settings.dashboard.host}:{settings.dashboard.port}"
        found["pages"] = Need(
            health.tcp(settings.dashboard.host, settings.dashboard.port), f"nothing listens on {place} yet"
        )
    return found


def _kafka(servers: Sequence[str]) -> Need:
    """One of the brokers accepts connections. What it makes of them the loops find out."""
    brokers = [health.tcp(*_place(server)) for server in servers]

    async def check() -> bool:
        return any(await asyncio.gather(*(broker() for broker in brokers)))

    return Need(check, f"unreachable: no Kafka broker answers at {', '.join(servers)}")


def _place(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
