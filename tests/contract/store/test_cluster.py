"""The migrations for a cluster: every statement has its variant, the engine understands it, and versions meet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from dimwatch.errors import PermanentError
from dimwatch.store.cluster import Cluster
from dimwatch.store.engine import quote_string
from dimwatch.store.migrate import KEPT_TIMES, migrations
from dimwatch.store.sink import TABLES
from tests.contract.store.conftest import RunningStore

STATEMENTS = [(migration.name, statement) for migration in migrations() for statement in migration.statements]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(STATEMENTS)]
CREATED = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", "\n".join(statement for _, statement in STATEMENTS))
CLUSTER = Cluster("many", "dimwatch", CREATED)

REPEATABLE = re.compile(
    r"CREATE (TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS |CREATE OR REPLACE VIEW |DROP (TABLE|VIEW) IF EXISTS "
    r"|ALTER TABLE \w+ (ADD (COLUMN|INDEX) IF NOT EXISTS|DROP (COLUMN|INDEX) IF EXISTS|MODIFY|MATERIALIZE INDEX) "
)


@pytest.mark.parametrize(("name", "statement"), STATEMENTS, ids=IDS)
def test_every_statement_stands_being_repeated(name: str, statement: str) -> None:
    assert REPEATABLE.match(statement), f"{name}: {statement[:80]}"


@pytest.mark.parametrize(("name", "statement"), STATEMENTS, ids=IDS)
def test_every_statement_has_variants_that_the_engine_understands(
    store: RunningStore, name: str, statement: str
) -> None:
    with store.engine.session() as session:
        for variant in CLUSTER.variants(statement):
            told = session.run(f"SELECT formatQuery({quote_string(variant)})", "TSVRaw").data.decode()
            assert "ON CLUSTER many" in told, name
            assert not re.search(r"ENGINE = (?!Replicated|Distributed)\w+", told), name
            if "ENGINE = Replicated" in told:
                assert "_local" in told.split("(")[0]
                assert "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in told


def test_columns_indices_and_settings_are_those_of_one_server() -> None:
    one = next(statement for _, statement in STATEMENTS if "EXISTS span_versions" in statement)
    local, distributed = CLUSTER.variants(one)
    head, engine = "CREATE TABLE IF NOT EXISTS span_versions", "ENGINE = ReplacingMergeTree(version)"
    replicated = (
        "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version)"
    )
    assert local == one.replace(
        head, "CREATE TABLE IF NOT EXISTS `dimwatch`.`span_versions_local` ON CLUSTER `many`"
    ).replace(engine, replicated)
    assert "AS `dimwatch`.`span_versions_local`" in distributed
    assert distributed.endswith("Distributed('many', 'dimwatch', 'span_versions_local', cityHash64(trace_id))")


@pytest.mark.parametrize("table", sorted({*TABLES.values(), *KEPT_TIMES}))
def test_versions_of_a_row_go_to_one_shard(table: str) -> None:
    """What rows are spread by is made of columns of the sorting key, or is fixed by them."""
    one = next(statement for _, statement in STATEMENTS if f"EXISTS {table}\n" in statement)
    spread = re.search(r"'\w+_local', (.*)\)$", CLUSTER.variants(one)[1])
    key = re.search(r"ORDER BY \(([^\n]*)\)\n", one)
    assert spread is not None
    assert key is not None
    if table == "observation_versions":
        assert spread[1] == "cityHash64(trace_id)", "the id of an observation is a hash of its trace, among others"
    else:
        columns = set(re.findall(r"\w+", spread[1])) - {"cityHash64"}
        assert columns <= set(re.findall(r"\w+", key[1]))


def test_alters_reach_the_rows_before_what_asks_for_them() -> None:
    assert CLUSTER.variants("ALTER TABLE span_versions ADD COLUMN IF NOT EXISTS x Nullable(String)") == [
        "ALTER TABLE `dimwatch`.`span_versions_local` ON CLUSTER `many` ADD COLUMN IF NOT EXISTS x Nullable(String)",
        "ALTER TABLE `dimwatch`.`span_versions` ON CLUSTER `many` ADD COLUMN IF NOT EXISTS x Nullable(String)",
    ]
    assert CLUSTER.variants("ALTER TABLE span_versions MODIFY TTL inserted_at + toIntervalDay(1)") == [
        "ALTER TABLE `dimwatch`.`span_versions_local` ON CLUSTER `many` MODIFY TTL inserted_at + toIntervalDay(1)"
    ]
    with pytest.raises(PermanentError, match="without a variant"):
        CLUSTER.variants("OPTIMIZE TABLE span_versions FINAL")


def test_the_engine_runs_them_over_a_cluster_that_it_knows(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tests.contract.store.on_cluster", str(tmp_path)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    told = orjson.loads(done.stdout)
    assert told["first"] == [migration.name for migration in migrations()]
    assert told["again"] == []
    for table in CREATED:
        assert told["engines"][table] == "Distributed"
        assert told["engines"][f"{table}_local"].endswith("MergeTree")
    assert told["spans"] == [["100", "10", "v2"]], "each span once, in its newest version"
    assert told["summed"] == [["100"]], "each call once"
    assert told["local"] == [["1"]]
    assert told["of_traces"] == [["10"]]
