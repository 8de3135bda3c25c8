"""The tables hold what the records hold, once."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from dimwatch import records
from dimwatch.errors import PermanentError, RetryableError
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from dimwatch.store.migrate import migrate, migrations, retention
from dimwatch.store.sink import TABLES, VIEWS
from tests.contract.store.conftest import RunningStore, ServerStore

_CLICKHOUSE = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.uint32(): "UInt32",
    pa.uint16(): "UInt16",
    pa.uint8(): "UInt8",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.timestamp("ns", tz="UTC"): "DateTime64(9, 'UTC')",
    pa.list_(pa.string()): "Array(String)",
    pa.list_(pa.int16()): "Array(Int16)",
    pa.list_(pa.uint32()): "Array(UInt32)",
    pa.map_(pa.string(), pa.string()): "Map(String, String)",
}


Place = RunningStore | ServerStore

PLACES = ["embedded", *(["server"] if "DIMWATCH_TEST_CLICKHOUSE" in os.environ else [])]


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, store: RunningStore) -> Place:
    """The embedded store, and a server where there is one."""
    if request.param == "embedded":
        return store
    server: ServerStore = request.getfixturevalue("server")
    return server


def run(store: Place, sql: str) -> str:
    """Run a statement in the database."""
    return store.run(sql)


def sample(topic: str, **values: object) -> pa.Table:
    """One row of a topic, empty but for `values`."""
    schema = records.SCHEMAS[topic]
    row: dict[str, object] = {}
    for field in schema:
        if field.nullable:
            row[field.name] = None
        elif pa.types.is_timestamp(field.type):
            row[field.name] = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
        elif pa.types.is_string(field.type):
            row[field.name] = ""
        elif pa.types.is_boolean(field.type):
            row[field.name] = False
        elif pa.types.is_list(field.type) or pa.types.is_map(field.type):
            row[field.name] = []
        else:
            row[field.name] = 0
    return records.table_from_rows(schema, [row | values])


def clean(store: Place) -> None:
    """Empty all tables."""
    for table in TABLES.values():
        run(store, f"TRUNCATE TABLE {table}")


@pytest.mark.parametrize("topic", list(records.SCHEMAS))
@pytest.mark.parametrize("of", ["table", "view"])
def test_columns_are_those_of_the_records(store: Place, topic: str, of: str) -> None:
    name = TABLES[topic] if of == "table" else VIEWS[topic]
    found = {}
    for line in run(store, f"DESCRIBE TABLE {name} FORMAT TSVRaw").splitlines():
        column, type_ = line.split("\t")[:2]
        found[column] = type_.replace("LowCardinality(String)", "String")
    expected = {}
    for field in records.SCHEMAS[topic]:
        plain = _CLICKHOUSE[field.type]
        expected[field.name] = f"Nullable({plain})" if field.nullable else plain
    if of == "table":
        assert found.pop("inserted_at") == "DateTime('UTC')"
    assert found == expected


def test_every_table_is_durable_over_a_power_cut(store: Place) -> None:
    for table in [*TABLES.values(), "migrations"]:
        definition = run(store, f"SHOW CREATE TABLE {table}")
        for setting in ("fsync_after_insert = 1", "fsync_part_directory = 1", "min_rows_to_fsync_after_merge = 1"):
            assert setting in definition, table


def test_migrating_again_changes_nothing(store: Place) -> None:
    query = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before = run(store, query), run(store, "SELECT * FROM migrations")
    assert migrate(lambda sql: run(store, sql), store.settings.store) == []
    assert (run(store, query), run(store, "SELECT * FROM migrations")) == before


def test_a_migration_cut_short_is_finished(store: Place) -> None:
    run(store, "DROP VIEW drops")
    run(store, "TRUNCATE TABLE migrations")
    assert migrate(lambda sql: run(store, sql), store.settings.store) == [m.name for m in migrations()]
    assert run(store, "SELECT count() FROM drops") == "0\n"


def test_changed_and_unknown_migrations_are_refused(store: Place) -> None:
    kept = run(store, "SELECT number, name, checksum FROM migrations FORMAT Values").strip()
    try:
        run(store, "INSERT INTO migrations (number, name, checksum) VALUES (9999, 'x', 'y')")
        with pytest.raises(PermanentError, match=r"9999.*newer"):
            migrate(lambda sql: run(store, sql), store.settings.store)
        run(store, "TRUNCATE TABLE migrations")
        run(store, "INSERT INTO migrations (number, name, checksum) VALUES (1, 'x', 'y')")
        with pytest.raises(PermanentError, match="was changed"):
            migrate(lambda sql: run(store, sql), store.settings.store)
    finally:
        run(store, "TRUNCATE TABLE migrations")
        run(store, f"INSERT INTO migrations (number, name, checksum) VALUES {kept}")


def test_retention_follows_the_settings(store: Place) -> None:
    for days in (7, 30):
        migrate(lambda sql: run(store, sql), Store(keep_days=days))
        for table, rule in retention(Store(keep_days=days)).items():
            # Shown over several lines.
            assert f"TTL {rule}" in " ".join(run(store, f"SHOW CREATE TABLE {table}").split())
    assert retention(Store()).keys() == {*TABLES.values(), "run_versions", "model_call_versions", "model_hour_versions"}


@pytest.fixture
def client(store: Place) -> StoreClient:
    return StoreClient(store.settings, writer=True)


def test_a_row_comes_back_as_it_went_in(store: Place, client: StoreClient) -> None:
    clean(store)
    span = sample(
        records.SPANS, trace_id="a" * 32, span_id="b" * 16, http_status=503, counted=True, tool_result="é\0\n",
        input_tokens=0, links=["c" * 32], attributes=[("k", "v"), ("", "")], version=2**62, duration_ns=-1,
    )  # fmt: skip
    client.insert("span_versions", span)
    back = client.table("SELECT * FROM spans")
    assert back.select(records.SPAN.names).cast(records.SPAN).equals(span)
    for topic in TABLES.keys() - {records.SPANS}:
        client.insert(TABLES[topic], sample(topic))
        back = client.table(f"SELECT * FROM {VIEWS[topic]}")
        assert back.cast(records.SCHEMAS[topic]).equals(sample(topic))
    client.close()


@pytest.mark.parametrize("merged", [False, True])
def test_a_repeated_row_is_seen_once_and_the_newest_version_wins(
    store: Place, client: StoreClient, merged: bool
) -> None:
    clean(store)
    for version, status in ((1, "ok"), (3, "error"), (2, "unknown"), (1, "ok"), (3, "error")):
        spans = pa.concat_tables(
            sample(records.SPANS, trace_id="t", span_id=f"s{i}", effective_status=status, version=version)
            for i in range(100)
        )
        client.insert("span_versions", spans)
    # Late spans give a trace another start, on another day, and another service.
    for version, day in ((1, 4), (2, 3), (2, 3)):
        start = datetime(2026, 5, day, 23, 59, tzinfo=UTC)
        trace = sample(records.TRACES, trace_id="t", start_time=start, service=f"s{day}", version=version)
        client.insert("trace_versions", trace)
        client.insert("observation_versions", sample(records.OBSERVATIONS, id="o", time=start, version=version))
        client.insert("drop_versions", sample(records.DROPS, id="d", version=version))
    if merged:
        for table in TABLES.values():
            run(store, f"OPTIMIZE TABLE {table} FINAL")
    assert client.rows("SELECT count(), uniqExact(trace_id, span_id), any(effective_status) FROM spans") == [
        (100, 100, "error")
    ]
    assert client.rows("SELECT service, toString(toDate(start_time)) FROM traces") == [("s3", "2026-05-03")]
    assert client.rows("SELECT count() FROM observations WHERE time >= '2026-05-04'") == [(0,)]
    assert client.rows("SELECT count() FROM drops") == [(1,)]
    client.close()


def test_a_trace_is_found_by_its_id_without_reading_the_rest(store: Place, client: StoreClient) -> None:
    clean(store)
    run(
        store,
        "INSERT INTO span_versions (trace_id, span_id, service, start_time)"
        " SELECT lower(hex(MD5(toString(intDiv(number, 10))))), toString(number), concat('s', toString(number % 3)),"
        " toDateTime64('2026-05-01 00:00:00', 9, 'UTC') + intDiv(number, 10) FROM numbers(400000)",
    )
    plan = run(
        store,
        "EXPLAIN indexes = 1 SELECT * FROM spans WHERE trace_id = (SELECT lower(hex(MD5('777'))))",
    )
    granules = [line.strip() for line in plan.splitlines() if "Granules:" in line]
    assert int(granules[-1].split()[-1].split("/")[0]) <= 6, plan
    in_time = run(store, "EXPLAIN indexes = 1 SELECT count() FROM spans WHERE start_time >= '2026-05-01 11:00:00'")
    assert "Granules: " in in_time
    assert client.rows("SELECT count() FROM spans WHERE trace_id = lower(hex(MD5('777')))") == [(10,)]
    clean(store)
    client.close()


def test_without_a_store_the_client_says_what_to_do(tmp_path: Path) -> None:
    nobody = StoreClient(Settings(data=tmp_path, store=Store(http_port=1)))
    with pytest.raises(RetryableError, match="dimwatch up"):
        nobody.rows("SELECT 1")


def test_the_client_tells_errors_that_pass_from_those_that_stay(store: Place) -> None:
    if isinstance(store, ServerStore):
        pytest.skip("how much a query may take is for the server's administrator to say")
    reader = StoreClient(Settings(data=store.settings.data, store=Store(http_port=store.port)))
    with pytest.raises(PermanentError, match="UNKNOWN_IDENTIFIER"):
        reader.rows("SELECT nope")
    with pytest.raises(RetryableError, match="MEMORY_LIMIT_EXCEEDED"):
        reader.rows("SELECT groupArray(number) FROM numbers({n:UInt64})", {"n": 10**10})
    reader.close()


def test_made_up_times_do_not_scatter_an_insert(store: Place) -> None:
    clean(store)
    days = [-(2**62), -1, *(day * 86_400_000_000_000 for day in range(0, 20_000, 20)), 2**63 - 1]
    row = sample(records.SPANS)
    spans = pa.concat_tables([row] * len(days))
    for name, values in (
        ("start_time", pa.array(days).cast(pa.timestamp("ns", tz="UTC"))),
        ("span_id", pa.array([str(number) for number in range(len(days))])),
    ):
        spans = spans.set_column(spans.column_names.index(name), records.SPAN.field(name), values)
    store.target().insert("span_versions", spans)
    partitions = run(
        store,
        "SELECT uniqExact(partition) FROM system.parts"
        " WHERE database = currentDatabase() AND table = 'span_versions' AND active",
    )
    assert int(partitions) == 1, "all before 2025 or after 2100"
    assert run(store, "SELECT count(), uniqExact(start_time) FROM spans") == f"{len(days)}\t{len(days)}\n"
    clean(store)
