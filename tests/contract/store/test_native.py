"""Clients that ask for a newer protocol revision (Go, Grafana) get its layout of the Native format."""

from __future__ import annotations

import struct

import pytest

from dimwatch.store.native import with_revision
from tests.contract.store.conftest import RunningStore

TYPES = [
    "number", "toString(number)", "[number]", "map('k', number)", "toLowCardinality('lc')", "NULL::Nullable(Int32)",
    "now64(9, 'UTC')", "tuple(1, 'x')", "toNullable('q')", "true", "toDecimal64(1.5, 2)", "toDecimal256(1.5, 2)",
    "generateUUIDv4()", "[toLowCardinality('z')]", "map('a', toLowCardinality('b'))", "[[1], []]",
    "tuple(1, 'x')::Tuple(a Int8, `b c` Nullable(String))", "[]", "toLowCardinality(toNullable('x'))", "tuple()",
    "'a'::Enum8('a' = 1, 'b(,' = 2)", "toFixedString('abc', 5)", "INTERVAL 1 DAY", "toIPv4('1.1.1.1')", "NULL",
    "[tuple(1, toLowCardinality('x'))]", "map()", "toDate('2026-01-01')", "repeat('long ', 100)", "1.5::Float32",
    "[map('a', [toLowCardinality(toNullable('x'))])]", "arrayMap(x -> toLowCardinality(toString(x)), range(number))",
]  # fmt: skip


@pytest.mark.parametrize("expression", TYPES)
@pytest.mark.parametrize("rows", [1, 3])
def test_every_type_keeps_its_bytes(store: RunningStore, expression: str, rows: int) -> None:
    # The column after it is found only if the first one is measured rightly.
    sql = f"SELECT {expression} AS x, 7::UInt8 AS e FROM numbers({rows}) FORMAT Native".encode()
    old = store.http(sql).body
    new = store.http(sql, "client_protocol_version=54460").body
    if "now64" in expression or "UUID" in expression:
        new = b"".join(with_revision([old]))
    assert new.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x02" + bytes([rows]))
    assert new.endswith(b"\x01e\x05UInt8\x00" + b"\x07" * rows)
    assert new[8:].replace(b"\x01e\x05UInt8\x00", b"\x01e\x05UInt8").count(b"\x00") == old.count(b"\x00") + 1
    assert len(new) == len(old) + 8 + 2


def test_many_blocks_and_none(store: RunningStore) -> None:
    sql = b"SELECT number FROM numbers(200000) FORMAT Native"
    body = store.http(sql, "client_protocol_version=54460&max_block_size=50000").body
    assert body.count(b"\x06number\x06UInt64\x00") == 4
    assert struct.unpack("<Q", body[-8:]) == (199_999,)
    assert store.http(b"SELECT 1 WHERE 0 FORMAT Native", "client_protocol_version=54460").body == b""


def test_statements_that_are_not_streamed(store: RunningStore) -> None:
    """The Go client asks for the columns of a table before it inserts."""
    old = store.http(b"DESCRIBE TABLE spans FORMAT Native").body
    new = store.http(b"DESCRIBE TABLE spans", "default_format=Native&client_protocol_version=54460").body
    assert b"trace_id" in old
    assert new == b"".join(with_revision([old]))


def test_rows_of_our_tables(store: RunningStore) -> None:
    insert = b"INSERT INTO span_versions (trace_id, span_id, links, attributes) VALUES ('t', 's', ['l'], {'a': 'b'})"
    assert store.http(insert, writer=True).status == 200
    answer = store.http(b"SELECT * FROM spans FORMAT Native", "client_protocol_version=54460")
    assert answer.status == 200, answer.text
    assert store.http(b"TRUNCATE TABLE span_versions", writer=True).status == 200


def test_a_type_that_cannot_be_walked_over_says_what_to_do(store: RunningStore) -> None:
    sql = b"SELECT '{}'::JSON FORMAT Native"
    answer = store.http(sql, "client_protocol_version=54460")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert "toString()" in answer.text
