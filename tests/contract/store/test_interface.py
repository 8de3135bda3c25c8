"""What curl, clickhouse-connect and Grafana rely on in the ClickHouse HTTP interface."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import subprocess
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import lz4.frame  # type: ignore[import-untyped]
import pandas as pd
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError

from dimwatch.app.store import http_server
from dimwatch.store.encoding import checksum, decompress
from dimwatch.store.server import StoreServer
from tests.contract.store.conftest import PASSWORD, RunningStore, served
from tests.needs import program

COMPRESSION = [False, True, "lz4", "zstd", "gzip"]


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    with store.client(writer=True) as client:
        client.command(
            "CREATE TABLE scratch (a Int32, b Nullable(String), t DateTime64(9, 'UTC'), m Map(String, String))"
            " ENGINE = MergeTree ORDER BY a"
        )
        yield "scratch"
        client.command("DROP TABLE scratch SYNC")


def curl(store: RunningStore, *arguments: str, stdin: bytes = b"") -> str:
    """Run curl against the store, as a user with a shell does."""
    path = program("curl", remedy="apt-get install curl")
    url = f"http://127.0.0.1:{store.port}/"
    arguments = tuple(part.replace("URL/", url) for part in arguments)
    done = subprocess.run([path, "-sS", "--max-time", "20", *arguments], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_curl_reads_and_writes(store: RunningStore, table: str) -> None:
    account = ["-H", "X-ClickHouse-User: dimwatch_internal", "-H", f"X-ClickHouse-Key: {store.token}"]
    assert curl(store, "URL/ping") == "Ok.\n"
    assert curl(store, "URL/replicas_status") == "Ok.\n"
    assert curl(store, "URL/") == "Ok.\n"
    assert curl(store, "URL/?query=SELECT+count()+FROM+spans") == "0\n"
    assert curl(store, "URL/", "--data-binary", "@-", stdin=b"SELECT 1 AS x FORMAT JSONEachRow") == '{"x":1}\n'
    assert json.loads(curl(store, "URL/?query=SELECT+1+AS+x&default_format=JSON"))["data"] == [{"x": 1}]
    insert = "URL/?query=" + quote(f"INSERT INTO {table} (a, b) FORMAT JSONEachRow")
    rows = b'{"a": 1, "b": "x"}\n{"a": 2, "b": null}\n'
    curl(store, insert, *account, "--data-binary", "@-", stdin=rows)
    packed = ["-H", "Content-Encoding: gzip", "--data-binary", "@-"]
    curl(store, insert, *account, *packed, stdin=gzip.compress(rows))
    whole = f"INSERT INTO {table} (a, b) VALUES (3, 'semi;colon'), (4, NULL)".encode()
    curl(store, "URL/", *account, "--data-binary", "@-", stdin=whole)
    total = f"SELECT count(), countIf(b IS NULL) FROM {table}".encode()
    assert curl(store, "URL/", "--data-binary", "@-", stdin=total) == "6\t3\n"
    assert "Code: 60" in curl(store, "URL/?query=SELECT+*+FROM+nowhere")


@pytest.mark.parametrize("compress", COMPRESSION)
def test_clickhouse_connect_queries(store: RunningStore, compress: bool | str) -> None:
    with store.client(compress=compress) as client:
        assert client.query(
            "SELECT {a:Int32} + number, {s:String}, 'é' FROM numbers(2)", parameters={"a": 40, "s": "it's\n\\"}
        ).result_rows == [(40, "it's\n\\", "é"), (41, "it's\n\\", "é")]
        assert client.query("SELECT 1 WHERE 0").result_rows == []
        assert client.query("SELECT * FROM spans LIMIT 0").column_names[:2] == ("tenant", "trace_id")
        long = "x" * 50_000  # too long for a URL: sent as a form
        assert client.query("SELECT {s:String}", parameters={"s": long}).result_rows == [(long,)]
        frame = client.query_df("SELECT number AS n, toNullable('x') AS s FROM numbers(70000)")
        assert len(frame) == 70_000
        arrow = client.query_arrow("SELECT map('a', 'b') AS m, [1, 2] AS l, NULL::Nullable(Int32) AS n")
        assert arrow.to_pylist() == [{"m": [("a", "b")], "l": [1, 2], "n": None}]
        with client.query_row_block_stream("SELECT number FROM numbers(1000000)") as blocks:
            assert sum(len(block) for block in blocks) == 1_000_000
        assert client.query("SELECT 1", settings={"max_threads": 1}).result_rows == [(1,)]


@pytest.mark.parametrize("compress", COMPRESSION)
def test_clickhouse_connect_inserts(store: RunningStore, table: str, compress: bool | str) -> None:
    with store.client(writer=True, compress=compress) as client:
        summary = client.insert(table, [[1, "x"], [2, None]], column_names=["a", "b"])
        assert summary.written_rows == 2
        client.insert_df(table, pd.DataFrame({"a": [3, 4], "b": ["p", None]}))
        client.insert_arrow(table, pa.table({"a": pa.array([5], pa.int32()), "b": ["q"]}))
        client.raw_insert(table, ["a", "b"], b"6,r\n7,s\n", fmt="CSV")
        assert client.query(f"SELECT a, b FROM {table} ORDER BY a").result_rows == [
            (1, "x"), (2, None), (3, "p"), (4, None), (5, "q"), (6, "r"), (7, "s"),
        ]  # fmt: skip


def test_every_input_and_output_format_goes_round(store: RunningStore, table: str) -> None:
    select = f"SELECT a, b, t, m FROM {table} ORDER BY a FORMAT "
    first = b"(1, 'a;b', '2026-01-01 00:00:00.123456789', {'k': 'v'}), (2, NULL, '2026-01-02 00:00:00', {})"
    assert store.http(f"INSERT INTO {table} VALUES ".encode() + first, writer=True).status == 200
    for name in (
        "Native",
        "RowBinary",
        "ArrowStream",
        "Arrow",
        "Parquet",
        "JSONEachRow",
        "TabSeparated",
        "CSV",
        "Values",
    ):
        before = store.http((select + name).encode())
        assert before.status == 200, before.text
        assert before.headers["X-ClickHouse-Format"] == name
        store.http(f"TRUNCATE TABLE {table}".encode(), writer=True)
        # Behind the statement in the body, and by itself: both as a server takes it.
        inserted = store.http(f"INSERT INTO {table} FORMAT {name}\n".encode() + before.body, writer=True)
        assert inserted.status == 200, (name, inserted.text)
        assert store.http((select + name).encode()).body == before.body
        query = urlencode({"query": f"INSERT INTO {table} (a, b, t, m) FORMAT {name}"})
        assert store.http(before.body, query, writer=True).status == 200, name
        assert store.http(f"SELECT count() FROM {table}".encode()).text == "4\n"
        store.http(f"TRUNCATE TABLE {table}".encode(), writer=True)
        store.http(f"INSERT INTO {table} FORMAT {name}\n".encode() + before.body, writer=True)


@pytest.mark.parametrize(
    ("encoding", "pack", "unpack"),
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
        ("zstd", zstandard.compress, lambda b: zstandard.ZstdDecompressor().decompressobj().decompress(b)),
        ("lz4", lz4.frame.compress, lz4.frame.decompress),
    ],
)  # fmt: skip
def test_bodies_are_compressed_both_ways(store: RunningStore, table: str, encoding: str, pack, unpack) -> None:  # type: ignore[no-untyped-def]
    rows = b"".join(b"%d,%s\n" % (i, b"x" * (i % 50)) for i in range(50_000))
    query = urlencode({"query": f"INSERT INTO {table} (a, b) FORMAT CSV"})
    answer = store.http(pack(rows), query, {"Content-Encoding": encoding}, writer=True)
    assert answer.status == 200, answer.text
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "50000"
    headers = {"Accept-Encoding": encoding, "Content-Encoding": encoding}
    sql = pack(f"SELECT a, b FROM {table} ORDER BY a FORMAT TSV".encode())
    answer = store.http(sql, "enable_http_compression=1", headers)
    assert answer.headers["Content-Encoding"] == encoding
    assert unpack(answer.body).decode().count("\n") == 50_000
    assert store.http(sql, "", headers).headers["Content-Encoding"] is None
    for cut in (pack(rows)[:-20], pack(rows)[:40], b"", b"garbage"):
        answer = store.http(cut, query, {"Content-Encoding": encoding}, writer=True)
        assert answer.status in (200, 400), answer.text
        if cut:
            assert "Code: 271" in answer.text


def test_results_and_errors_in_the_framing_of_java_and_go_clients(store: RunningStore) -> None:
    sql = b"SELECT number, toString(number) FROM numbers(300000) FORMAT TSV"
    framed = store.http(sql, "compress=1").body
    assert len(framed) < 0.7 * len(store.http(sql).body)
    assert checksum(framed[16 : 16 + int.from_bytes(framed[17:21], "little")]) == framed[:16]
    assert b"".join(decompress(framed, "clickhouse", 1 << 30)) == store.http(sql).body
    answer = store.http(b"SELECT nothing_like_it", "compress=1")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (404, "47")
    assert b"nothing_like_it" in b"".join(decompress(answer.body, "clickhouse", 1 << 20))


def test_a_bomb_is_refused_before_it_is_unpacked(store: RunningStore) -> None:
    bomb = zstandard.compress(bytes(1 << 30))
    answer = store.http(bomb, "", {"Content-Encoding": "zstd"})
    assert answer.status == 413
    assert store.http(gzip.compress(bytes(1 << 26)), "", {"Content-Encoding": "gzip"}).status == 413
    assert store.http(b"SELECT 1 -- " + b"x" * (5 << 20)).status == 413


def test_headers_tell_what_a_server_tells(store: RunningStore) -> None:
    answer = store.http(b"SELECT 1 FORMAT JSON", "query_id=my-query")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-query"
    assert answer.headers["X-ClickHouse-Format"] == "JSON"
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    assert answer.headers["X-ClickHouse-Timezone"]
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert {"read_rows", "written_rows", "elapsed_ns"} <= json.loads(answer.headers["X-ClickHouse-Summary"]).keys()


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("", 400, 62),
        ("SELECT nope", 404, 47),
        ("SELECT * FROM nowhere", 404, 60),
        ("SELECT nofunction(1)", 404, 46),
        ("SELECT * FROM nowhere.t", 403, 497),
        ("SELECT 1 FORMAT Nonsense", 404, 73),
        ("SELECT {x:Int32}", 400, 456),
        ("SELECT throwIf(1)", 500, 395),
    ],
)
def test_errors_read_like_those_of_a_server(store: RunningStore, sql: str, status: int, code: int) -> None:
    answer = store.http(sql.encode())
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code)), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_clickhouse_connect_raises_with_code_and_name(store: RunningStore) -> None:
    with store.client() as client, pytest.raises(DatabaseError) as caught:
        client.query("SELECT nope")
    assert (caught.value.code, caught.value.name) == (47, "UNKNOWN_IDENTIFIER")


@pytest.mark.parametrize("compress", ["", "enable_http_compression=1"])
def test_an_error_in_mid_stream_is_never_a_short_result(store: RunningStore, compress: str) -> None:
    sql = b"SELECT number, throwIf(number = 900000) FROM numbers(1000000) FORMAT CSV"
    with socket.create_connection(("127.0.0.1", store.port), timeout=60) as connection:
        head = f"POST /?{compress} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sql)}\r\n\r\n"
        connection.sendall(head.encode() + sql)
        received = b""
        while piece := connection.recv(1 << 20):
            received += piece
    assert received.startswith(b"HTTP/1.1 200")
    assert b"__exception__" in received
    assert b"Code: 395. DB::Exception" in received
    assert not received.endswith(b"0\r\n\r\n"), "the end of a whole result"
    waited = store.http(sql, "wait_end_of_query=1")
    assert (waited.status, waited.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 200),
        ({"X-ClickHouse-User": "default"}, "", 200),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}, "", 200),
        ({}, "user=default&password=" + quote(PASSWORD), 200),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}, "", 403),
        ({"X-ClickHouse-User": "dimwatch_internal"}, "", 403),
        ({"X-ClickHouse-User": "dimwatch_internal", "X-ClickHouse-Key": "wrong"}, "", 403),
        ({"X-ClickHouse-User": "nobody"}, "", 403),
        ({}, "user=default&password=wrong", 403),
        ({"Authorization": "Basic !!!"}, "", 403),
        ({"Authorization": "Bearer x"}, "", 403),
    ],
)
def test_accounts(store: RunningStore, headers: dict[str, str], query: str, status: int) -> None:
    answer = store.http(b"SELECT 1", query, headers)
    assert answer.status == status, answer.text
    if status == 403:
        assert answer.headers["X-ClickHouse-Exception-Code"] == "516"


def test_the_password_lets_write(store: RunningStore) -> None:
    account = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
    assert store.http(b"CREATE TABLE written (a Int8) ENGINE = Memory", headers=account).status == 200
    assert store.http(None, "query=DROP+TABLE+written", account).status == 403, "GET only reads"
    assert store.http(b"DROP TABLE written", headers=account).status == 200


def test_too_many_at_once_are_sent_away_and_the_writer_is_not(store: RunningStore) -> None:
    slow = b"SELECT sleep(1.5)"
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(store.http, slow) for _ in range(20)]
        assert store.http(b"SELECT 1", writer=True).status == 200
        results = [answer.result() for answer in answers]
    status = {answer.status for answer in results}
    assert status == {200, 503}
    refused = next(answer for answer in results if answer.status == 503)
    assert refused.headers["X-ClickHouse-Exception-Code"] == "202"
    assert refused.headers["Retry-After"]
    assert store.http(b"SELECT 1").text == "1\n"


def test_a_long_query_is_ended(store: RunningStore) -> None:
    answer = store.http(b"SELECT count() FROM numbers(1e13) WHERE sipHash64(number) = 1", "max_execution_time=1")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (408, "159")
    answer = store.http(b"SELECT groupArray(number) FROM numbers(1e10)", "max_memory_usage=50000000")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (503, "241")


def test_clients_that_leave_give_their_place_back(store: RunningStore) -> None:
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", store.port), timeout=60) as connection:
            sql = b"SELECT number, toString(number) FROM numbers(100000000)"
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: %d\r\n\r\n" % len(sql) + sql)
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
    lock = threading.Event()
    for _ in range(100):
        if store.http(b"SELECT 1").status == 200:
            break
        lock.wait(0.1)
    assert store.http(b"SELECT 1").text == "1\n"


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nSELECT",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /?query=" + b"x" * (3 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000 + b"\r\n",
    b"GET /?query=%FF%FE HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /?query=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 9\r\n\r\n--y\r\n\r\n\r\n",
    b"\x00" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_answered_or_cut_and_the_store_goes_on(store: RunningStore, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", store.port), timeout=60) as connection:
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass
    assert store.http(b"SELECT 1").text == "1\n"


HOSTILE = [
    b"SELECT " + b"(" * 100_000,
    b"SELECT " + b"(" * 100_000 + b"1" + b")" * 100_000,
    b"SELECT " + b"[" * 50_000 + b"]" * 50_000,
    b"SELECT " + b"-" * 100_001 + b"1",
    b"SELECT " + b"NOT " * 50_000 + b"1",
    b"SELECT 1" + b" + 1" * 60_000,
    b"SELECT * FROM " + b"(SELECT * FROM " * 5_000,
    b"SELECT " + b"CASE WHEN 1 THEN " * 10_000,
    b"WITH " + b",".join(b"x%d AS (SELECT 1)" % i for i in range(20_000)) + b" SELECT 1",
    b"SELECT 'unclosed",
    b"SELECT /* unclosed",
    b"SELECT \x00",
    b"\xff\xfe\x00S\x00E",
    b"SELECT repeat('x', 1000000000000)",
    b"SELECT range(1000000000000)",
    b"SELECT arrayJoin(range(100000000)), groupArray(1) OVER ()",
    b"SELECT " + b"1," * 100_000 + b"1",
]


@pytest.mark.parametrize("sql", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_sql_is_refused_and_the_store_goes_on(store: RunningStore, sql: bytes) -> None:
    answer = store.http(sql, "max_execution_time=5")
    assert answer.status >= 200
    assert store.http(b"SELECT 1").text == "1\n"


@pytest.mark.parametrize(
    "name", ["Native", "RowBinary", "ArrowStream", "Arrow", "Parquet", "JSONEachRow", "CSV", "Values"]
)
@pytest.mark.parametrize("data", [b"\x00", b"garbage\n", b"\xff" * 1000, b"(1,", b'{"a": '])
def test_garbage_in_an_insert_is_refused(store: RunningStore, table: str, name: str, data: bytes) -> None:
    if (name, data) == ("RowBinary", b"\xff" * 1000):
        return  # 200 proper rows
    answer = store.http(data, urlencode({"query": f"INSERT INTO {table} (a, b) FORMAT {name}"}), writer=True)
    assert answer.status in range(400, 600), (answer.status, answer.text)
    assert answer.text.startswith("Code: ")
    assert store.http(b"SELECT 1").text == "1\n"


@pytest.mark.parametrize("before", [0, 1])
def test_a_connection_whose_headers_do_not_come_is_closed(store: RunningStore, before: int) -> None:
    server = http_server(StoreServer(store.settings, store.engine, store.token), headers_s=0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with served(server, listener), socket.create_connection(address, timeout=60) as connection:
        for _ in range(before):
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while b"Ok." not in connection.recv(1 << 16):
                pass
        connection.sendall(b"GET /ping HTT")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1 << 16) == b""
