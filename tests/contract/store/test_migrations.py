"""Upgrades while everything runs: several migrate at once, old writers go on, newer schemas are told."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from dimwatch.errors import PermanentError
from dimwatch.settings import Store
from dimwatch.store import codes
from dimwatch.store.engine import quote_identifier
from dimwatch.store.migrate import create_database, migrate, migrations, pending
from dimwatch.store.sink import TABLES
from dimwatch.store.target import EngineTarget
from tests.contract.store.conftest import RunningStore
from tests.contract.store.test_tables import sample

Run = Callable[[str], str]


@pytest.fixture
def database(store: RunningStore) -> Iterator[tuple[str, Run]]:
    """A database without tables, and how to run something in it."""
    name = "upgraded"

    def run(sql: str) -> str:
        with store.engine.session() as session:
            session.use(name)
            return session.run(sql).data.decode()

    with store.engine.session() as session:
        create_database(lambda sql: session.run(sql).data.decode(), Store(database=name))
        yield name, run
        session.run(f"DROP DATABASE {quote_identifier(name)} SYNC")


def test_two_that_migrate_at_once_end_with_one_schema(database: tuple[str, Run]) -> None:
    _, run = database
    ready = threading.Barrier(3)

    def one() -> list[str]:
        ready.wait()
        return migrate(run, Store())

    with ThreadPoolExecutor(3) as pool:
        done = [future.result(60) for future in [pool.submit(one) for _ in range(3)]]
    names = [migration.name for migration in migrations()]
    assert {name for applied in done for name in applied} == set(names)
    assert run("SELECT uniqExact(number), uniqExact(checksum) FROM migrations") == f"{len(names)}\t{len(names)}\n"
    assert pending(run) == []
    assert migrate(run, Store()) == []


def test_an_old_sink_writes_on_while_a_column_is_added(store: RunningStore, database: tuple[str, Run]) -> None:
    name, run = database
    migrate(run, Store())
    target = EngineTarget(store.engine, name)
    target.insert("drop_versions", sample("drops", id="before"))
    run("ALTER TABLE drop_versions ADD COLUMN IF NOT EXISTS newer Nullable(String)")
    target.insert("drop_versions", sample("drops", id="after"))
    assert run("SELECT id, newer FROM drop_versions ORDER BY id") == "after\t\\N\nbefore\t\\N\n"


def test_a_server_that_does_not_know_a_setting_is_migrated_without_it(database: tuple[str, Run]) -> None:
    _, run = database
    migrate(lambda sql: run(sql.replace("auto_statistics_types", "setting_of_a_newer_server")), Store())
    assert pending(run) == []
    definition = run("SHOW CREATE TABLE span_versions")
    assert "merge_selector_base = 30" in definition
    assert "auto_statistics_types" not in definition


def test_a_schema_of_a_newer_version_is_told(database: tuple[str, Run]) -> None:
    _, run = database
    migrate(run, Store())
    run("INSERT INTO migrations (number, name, checksum) VALUES (9999, '9999_future.sql', 'x')")
    with pytest.raises(PermanentError, match=r"migration 9999.*install the newer version"):
        migrate(run, Store())


def test_codes_are_called_what_the_engine_calls_them(store: RunningStore) -> None:
    kinds = (codes.RETRYABLE, codes.POISON, codes.OURS, codes.ALREADY_THERE)
    listed = {code: name for kind in kinds for code, name in kind.items()}
    assert len(listed) == sum(map(len, kinds)), "a code is of one kind"
    with store.engine.session() as session:
        told = session.run("SELECT number, errorCodeToName(number) FROM numbers(1100)").data.decode()
    names = dict(line.split("\t") for line in told.splitlines())
    assert {code: names[str(code)] for code in listed} == listed


def test_what_the_engine_says_of_bad_rows_and_of_bad_statements(store: RunningStore) -> None:
    target = EngineTarget(store.engine, "dimwatch")
    with pytest.raises(PermanentError, match="UNKNOWN_TABLE"):
        target.insert("nowhere", sample("drops"))
    rows = sample("drops")
    text = rows.set_column(rows.schema.get_field_index("count"), "count", pa.array(["many"]))
    with pytest.raises(codes.PoisonError):
        target.insert(TABLES["drops"], text)


def test_a_week_of_spans_is_few_parts_that_are_done(store: RunningStore) -> None:
    definition = store.run("SHOW CREATE TABLE span_versions")
    largest = re.search(r"max_bytes_to_merge_at_max_space_in_pool = (\d+)", definition)
    assert largest is not None
    a_week = 25_000 * 7 * 24 * 3600 * 91  # docs/capacity.md has the bytes of a span on disk
    assert a_week / int(largest[1]) < 10, "from ten parts of a partition on merges take fewer at a time"
