"""Readers without an account can read our tables, and nothing else of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.contract.store.conftest import RunningStore

ALLOWED = [
    "SELECT count() FROM spans",
    "select * from dimwatch.spans limit 1",
    "WITH t AS (SELECT trace_id FROM spans) SELECT count() FROM t",
    "FROM spans SELECT count()",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "-- a comment\nSELECT 1 /* and one more; */",
    "SELECT 1;",
    "SELECT ';drop table spans', 'file(\\'x\\')', \"url(1)\" FROM (SELECT 1 AS `url(1)`)",
    "SELECT a.x FROM (SELECT 1 AS x) AS a",
    "SELECT number FROM numbers(3) FORMAT JSONEachRow",
    "SELECT format('{}', 'a')",
    "SELECT name FROM system.tables WHERE database = 'dimwatch'",
    "SELECT system.tables.name FROM system.tables",
    "SELECT * FROM information_schema.tables",
    "SELECT version(), timezone(), displayName(), revision(), hostName(), currentDatabase()",
    "SHOW TABLES",
    "SHOW TABLES FROM dimwatch LIKE 'sp%'",
    "SHOW DATABASES",
    "SHOW CREATE TABLE span_versions",
    "DESCRIBE TABLE spans",
    "DESC spans",
    "EXISTS TABLE spans",
    "EXPLAIN SELECT * FROM spans",
    "EXPLAIN indexes = 1 SELECT * FROM spans WHERE trace_id = 'x'",
    "EXPLAIN ESTIMATE SELECT * FROM span_versions",
]

REFUSED = [
    "INSERT INTO drop_versions (id) VALUES ('x')",
    "DROP TABLE span_versions",
    "TRUNCATE TABLE span_versions",
    "ALTER TABLE span_versions DELETE WHERE 1",
    "CREATE TABLE evil (a Int8) ENGINE = Memory",
    "CREATE VIEW evil AS SELECT * FROM file('/etc/passwd', LineAsString)",
    "CREATE FUNCTION f AS x -> x",
    "RENAME TABLE span_versions TO x",
    "OPTIMIZE TABLE span_versions",
    "ATTACH TABLE x",
    "DETACH TABLE span_versions",
    "USE system",
    "SET max_threads = 1",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES",
    "KILL QUERY WHERE 1",
    "BACKUP DATABASE dimwatch TO File('x')",
    "RESTORE DATABASE dimwatch FROM File('x')",
    "GRANT SELECT ON *.* TO x",
    "CREATE USER x",
    "CHECK TABLE span_versions",
    "COPY span_versions TO 'x'",
    "SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT 1 INTO OUTFILE '{folder}/out' FORMAT CSV",
    "SELECT 1; DROP TABLE span_versions",
    "SELECT 1;\n\n;SELECT 2",
    "EXPLAIN AST SELECT 1; DROP TABLE span_versions",
    "EXPLAIN SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT * FROM file('/etc/passwd', LineAsString)",
    "SELECT * FROM FILE('/etc/passwd', LineAsString)",
    "SELECT * FROM `file`('/etc/passwd', LineAsString)",
    "SELECT * FROM/**/file/**/('/etc/passwd', LineAsString)",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1:1/', CSV)",
    "SELECT * FROM s3('http://127.0.0.1:1/x', CSV)",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('{folder}/x', 't')",
    "SELECT * FROM executable('id', CSV, 'x String')",
    "SELECT * FROM python(x)",
    "SELECT * FROM Python('sys')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM merge('system', 'disks')",
    "SELECT * FROM merge('.*', '.*')",
    "SELECT * FROM loop(system.disks)",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
    "SELECT * FROM view(SELECT * FROM file('/etc/passwd', LineAsString))",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM file('/etc/passwd', LineAsString)))",
    "SELECT 1 WHERE 1 IN (SELECT 1 FROM file('/etc/passwd', LineAsString))",
    "SELECT (SELECT any(line) FROM file('/etc/passwd', LineAsString))",
    "SELECT 1 UNION ALL SELECT 1 FROM file('/etc/passwd', LineAsString)",
    "WITH a AS (SELECT * FROM file('/etc/passwd', LineAsString)) SELECT * FROM a",
    "WITH (SELECT any(line) FROM file('/etc/passwd', LineAsString)) AS a SELECT a",
    "SELECT * FROM spans JOIN file('/etc/passwd', LineAsString) AS f ON 1",
    "SELECT * FROM spans ORDER BY (SELECT 1 FROM url('http://127.0.0.1:1/', CSV))",
    "EXPLAIN SELECT * FROM url('http://127.0.0.1:1/', CSV)",
    "EXPLAIN PIPELINE SELECT * FROM url('http://127.0.0.1:1/', CSV)",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') PARTITION BY x",
    "DESCRIBE file('/etc/passwd', LineAsString)",
    "DESCRIBE url('http://127.0.0.1:1/', CSV)",
    "DESCRIBE (SELECT * FROM file('/etc/passwd', LineAsString))",
    "SHOW TABLES WHERE name IN (SELECT line FROM file('/etc/passwd', LineAsString))",
    "SHOW COLUMNS FROM spans WHERE (SELECT 1 FROM file('/etc/passwd', LineAsString)) = 1",
    "SELECT * FROM default.`/etc/passwd`",
    "SELECT * FROM `default`.`/etc/passwd`",
    "SELECT * FROM \"default\".\"/etc/passwd\"",
    "DESCRIBE TABLE default.`/etc/passwd`",
    "SHOW TABLES FROM default",
    "SELECT 1 IN default.`/etc/passwd`",
    "SELECT * FROM system.disks",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM system.named_collections",
    "SELECT * FROM system.stack_trace",
    "SELECT 1 IN system.disks",
    "SELECT getServerSetting('max_connections')",
    "SELECT filesystemAvailable()",
    "SELECT dictGet('x', 'y', 1)",
    "SELECT joinGet('x', 'y', 1)",
    "SELECT aiGenerate('x', 'y')",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT * FROM (SELECT 1 SETTINGS additional_result_filter = '1 IN (SELECT 1)')",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)",
    "x = 1",
    "1",
]  # fmt: skip


@pytest.mark.parametrize("sql", ALLOWED)
def test_reads_our_tables(store: RunningStore, sql: str) -> None:
    answer = store.http(sql.encode())
    assert answer.status == 200, answer.text


@pytest.mark.parametrize("sql", REFUSED)
def test_refuses_everything_else(store: RunningStore, tmp_path: Path, sql: str) -> None:
    sql = sql.replace("{folder}", str(tmp_path))
    for answer in (store.http(sql.encode()), store.http(None, urlencode({"query": sql}))):
        assert answer.status in (400, 403), (answer.status, answer.text)
        assert answer.headers["X-ClickHouse-Exception-Code"] in ("62", "164", "497"), answer.text
        assert "root:" not in answer.text
    assert list(tmp_path.iterdir()) == []
    assert store.http(b"EXISTS TABLE span_versions").text == "1\n"


@pytest.mark.parametrize("name", ["system.disks", "default./etc/passwd", "default.`/etc/passwd`"])
def test_an_identifier_parameter_is_checked_like_any_name(store: RunningStore, name: str) -> None:
    answer = store.http(b"SELECT * FROM {t:Identifier}", f"param_t={quote(name)}")
    assert answer.status in (400, 403, 404), answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("database", ["default", "system", "dimwatch"])
def test_the_database_parameter_opens_nothing(store: RunningStore, database: str) -> None:
    for table in ("`/etc/passwd`", "disks"):
        answer = store.http(f"SELECT * FROM {table}".encode(), f"database={database}")
        assert answer.status in (403, 404), answer.text
    assert store.http(b"SELECT 1", f"database={database}").status == 200


@pytest.mark.parametrize(
    "setting",
    [
        "dialect=prql",
        "implicit_select=1",
        "implicit_table_at_top_level=x",
        "additional_result_filter=1",
        "additional_table_filters=%7B%7D",
        "format_schema=/etc/passwd",
        "allow_introspection_functions=1",
        "a%3Db=1",
        "UPPER=1",
    ],
)
def test_settings_that_reach_further_are_refused(store: RunningStore, setting: str) -> None:
    answer = store.http(b"SELECT 1", setting)
    assert answer.status in (403, 404), answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("115", "164")


def test_readers_cannot_raise_their_limits(store: RunningStore) -> None:
    sql = b"SELECT getSetting('readonly'), getSetting('max_execution_time'), getSetting('max_memory_usage')"
    raised = store.http(sql, "readonly=0&max_execution_time=100000&max_memory_usage=0")
    assert raised.text == "2\t60\t1073741824\n"
    lowered = store.http(sql, "max_execution_time=5")
    assert lowered.text.split("\t")[1] == "5"


def test_a_name_of_a_foreign_page_needs_an_account(store: RunningStore) -> None:
    assert store.http(b"SELECT 1", headers={"Host": "evil.example"}).status == 401
    assert store.http(b"SELECT 1", headers={"Host": f"localhost:{store.port}"}).status == 200
    assert store.http(b"SELECT 1", headers={"Host": "evil.example"}, writer=True).status == 200
