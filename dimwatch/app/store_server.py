"""The store role against a ClickHouse server: migrations, then the sink alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog

from dimwatch.app.memory import keep_freed
from dimwatch.app.sinking import Sinking, keep_house, sink_limits
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.app.summing import Summing
from dimwatch.clock import SystemClock
from dimwatch.errors import PermanentError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.settings import Settings
from dimwatch.store.access import is_loopback
from dimwatch.store.client import StoreClient
from dimwatch.store.codes import code_of
from dimwatch.store.migrate import create_database, migrate, pending
from dimwatch.store.rollup import LONGEST_S

PARALLEL: Final = 4
MIGRATION_S: Final = 300.0
"""A statement for a cluster waits for all of its servers, 180 s by default."""
WAIT_MAX_S: Final = 15.0
_UNKNOWN_TABLE: Final = 60
_UNKNOWN_DATABASE: Final = 81

_log = structlog.get_logger()


def run(settings: Settings, health: Health, stop: Stop) -> None:
    """Migrate, then sink and trim until `stop`. A server that does not answer is waited for.

    Raises PermanentError when the account or the schema make it impossible to start.
    """
    keep_freed()
    store = settings.store
    if not store.tls and not is_loopback(store.host):
        _log.warning("what goes to the store, its password too, can be read on the way: set store.tls", host=store.host)
    if not _prepared(settings, health, stop):
        return
    eventlog = open_eventlog(settings)
    client = StoreClient(settings, writer=True)
    sinking = Sinking(eventlog, client, SystemClock(), sink_limits(settings, parallel=PARALLEL))
    sums = StoreClient(settings, writer=True, timeout_s=2 * LONGEST_S)
    summing = Summing(sums, stop, sums.close)
    sinking.start()
    summing.start()

    def beat() -> None:
        if not sinking.alive:
            raise PermanentError("the sink has stopped")
        health.beat()

    try:
        keep_house(eventlog, settings, SystemClock(), stop, beat)
        health.drain()
    finally:
        stop.request()
        sinking.stop()
        summing.join()
        client.close()
        eventlog.close()


def _prepared(settings: Settings, health: Health, stop: Stop) -> bool:
    """Bring the schema up to date, or check it; False when stopped before."""
    for wait_s in _waits():
        try:
            prepare(settings)
        except RetryableError as error:
            _log.warning("the store is waited for", error=str(error), retry_in_s=wait_s)
            health.beat(f"the store does not answer: {error}")
            if stop.sleep(wait_s):
                return False
        else:
            return True
    raise AssertionError("unreachable")


def prepare(settings: Settings) -> None:
    """Create the database and its tables on the server, or with `store.migrate` off see that they are there.

    Raises RetryableError when the server does not answer, PermanentError with the remedy for everything else.
    """
    store = settings.store
    client = StoreClient(settings, writer=True, timeout_s=MIGRATION_S)
    try:
        if not store.migrate:
            _check(client, settings)
            return
        outside = StoreClient(settings, writer=True, timeout_s=MIGRATION_S, database="")
        try:
            create_database(outside.command, store)
        finally:
            outside.close()
        if applied := migrate(client.command, store):
            _log.info("migrations applied", names=applied)
    except PermanentError as error:
        if code_of(error) is None:
            raise
        raise PermanentError(
            f"the database {store.database} cannot be migrated as user {store.user}: {error}. Grant what "
            "docs/clickhouse.md says, or let somebody else migrate and set store.migrate to false"
        ) from error
    finally:
        client.close()


def _check(client: StoreClient, settings: Settings) -> None:
    try:
        missing = pending(client.command)
    except PermanentError as error:
        if code_of(error) not in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE):
            raise
        raise PermanentError(
            f"the database {settings.store.database} has no tables of Dimwatch yet: {_REMEDY}"
        ) from error
    if missing:
        names = ", ".join(migration.name for migration in missing)
        raise PermanentError(f"the database {settings.store.database} lacks {names}: {_REMEDY}")


_REMEDY: Final = "start a store role once with store.migrate on, as a user that may create tables"


def _waits() -> Iterator[float]:
    wait_s = 0.5
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, WAIT_MAX_S)
