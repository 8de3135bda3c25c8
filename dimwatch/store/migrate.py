"""Schema migrations: numbered SQL files, applied once each, in order, never changed afterwards.

Programs that migrate at the same time do no harm, and neither does one that stops half-way: every statement stands
being repeated (a test holds the files to that), and what was done is noted after it was. What writes meanwhile goes on:
a new column has a default, and rows that lack it get that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Final

from dimwatch.errors import PermanentError
from dimwatch.settings import Store
from dimwatch.store.cluster import LOCAL, Cluster
from dimwatch.store.codes import ALREADY_THERE, code_of
from dimwatch.store.engine import quote_identifier

Execute = Callable[[str], str]
"""Runs one statement in the database and returns its result as TabSeparated text."""

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")
_CREATED: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")
_SETTING: Final = re.compile(r"ALTER TABLE \S+ (?:ON CLUSTER \S+ )?MODIFY SETTING ")
_UNKNOWN_SETTING: Final = 115
_COMMENT: Final = re.compile(r"^\s*--[^\n]*\n?", re.MULTILINE)

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt16,
    name String,
    checksum String,
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = MergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
"""

KEPT_TIMES: Final = {
    "span_versions": 1,
    "trace_versions": 3,
    "observation_versions": 3,
    "drop_versions": 3,
    "sighting_versions": 3,
    "change_versions": 13,
    "incident_versions": 13,
    "order_versions": 13,
    "canary_versions": 1,
    "shadow_alert_versions": 3,
    "run_versions": 3,
    "model_call_versions": 1,
    "model_hour_versions": 1,
    "delivery_versions": 13,
}
"""How many times `keep_days` each table is kept."""
KEPT_FINE_DAYS: Final = 2
KEPT_HOURS_TIMES: Final = 13
"""Windows: those of seconds for two days, of a minute for `keep_days`, of an hour for so many times that."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What tells a changed file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, in order. A semicolon ends one, so no literal may hold a semicolon."""
        return [part.strip() for part in _COMMENT.sub("", self.sql).split(";") if part.strip()]


def migrations() -> list[Migration]:
    """All migrations of this version of Dimwatch."""
    found = []
    for file in resources.files("dimwatch.store").joinpath("migrations").iterdir():
        if match := _NAME.fullmatch(file.name):
            found.append(Migration(int(match[1]), file.name, file.read_text()))
    return sorted(found, key=lambda migration: migration.number)


def create_database(execute: Execute, store: Store) -> None:
    """Create the database, where it is missing. Not to be run in that database."""
    if store.cluster:
        _once(execute, _cluster(store).create_database())
    else:
        _once(execute, f"CREATE DATABASE IF NOT EXISTS {quote_identifier(store.database)}")


def migrate(execute: Execute, store: Store) -> list[str]:
    """Bring the database up to date and return the names of what was applied.

    Raises PermanentError when the database was migrated by a newer Dimwatch, or an applied file has changed.
    """
    cluster = _cluster(store) if store.cluster else None
    _once(execute, cluster.everywhere(_LEDGER) if cluster else _LEDGER)
    done = []
    for migration in pending(execute):
        for statement in migration.statements:
            for variant in cluster.variants(statement) if cluster else [statement]:
                _once(execute, variant)
        execute(
            "INSERT INTO migrations (number, name, checksum)"
            f" SELECT {migration.number}, '{migration.name}', '{migration.checksum}'"
        )
        done.append(migration.name)
    for table, rule in retention(store).items():
        _keep(execute, cluster, table, rule)
    return done


def pending(execute: Execute) -> list[Migration]:
    """What is still to be applied. Raises PermanentError as `migrate` does."""
    rows = [row.split("\t") for row in execute("SELECT number, checksum FROM migrations").splitlines()]
    applied = {int(number): checksum for number, checksum in rows}
    known = migrations()
    if newer := applied.keys() - {migration.number for migration in known}:
        raise PermanentError(
            f"the database has migration {max(newer)}, which this Dimwatch does not know: install the newer version"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise PermanentError(
                f"{migration.name} was changed after it had been applied: restore it, add a new one instead"
            )
    return [migration for migration in known if migration.number not in applied]


def _cluster(store: Store) -> Cluster:
    statements = (statement for migration in migrations() for statement in migration.statements)
    tables = {found[1] for statement in statements if (found := _CREATED.match(statement))}
    return Cluster(store.cluster, store.database, tables)


def _once(execute: Execute, statement: str) -> None:
    """Run a statement; that somebody else has just done the same is fine, and that an older server lacks a setting."""
    try:
        execute(statement)
    except Exception as error:
        code = code_of(error)
        if code not in ALREADY_THERE and not (code == _UNKNOWN_SETTING and _SETTING.match(statement)):
            raise


def retention(store: Store) -> dict[str, str]:
    """The TTL clause of each table."""
    rules = {table: f"inserted_at + toIntervalDay({store.keep_days * times})" for table, times in KEPT_TIMES.items()}
    rules["window_versions"] = (
        f"inserted_at + toIntervalDay({KEPT_FINE_DAYS}) WHERE width_s < 60,"
        f" inserted_at + toIntervalDay({store.keep_days}) WHERE (width_s >= 60) AND (width_s < 3600),"
        f" inserted_at + toIntervalDay({store.keep_days * KEPT_HOURS_TIMES}) WHERE width_s >= 3600"
    )
    return rules


def _keep(execute: Execute, cluster: Cluster | None, table: str, rule: str) -> None:
    holder = table + LOCAL if cluster else table
    definition = execute(
        f"SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = '{holder}'"
    )
    if f"TTL {rule} SETTINGS" not in definition:
        # Applies to parts as they merge; rewriting all of them at once would stop the inserts.
        what = f"MODIFY TTL {rule} SETTINGS materialize_ttl_after_modify = 0"
        for statement in cluster.altered(table, what, columns=False) if cluster else [f"ALTER TABLE {table} {what}"]:
            execute(statement)
