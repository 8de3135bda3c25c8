"""Where the sink of the embedded store inserts: the engine in the same process.

Measured against the HTTP interface on loopback, the way that a ClickHouse server is written to: a third less
time a row, because the rows are copied twice instead of seven times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from dimwatch.store.codes import error_of
from dimwatch.store.engine import Engine, EngineError, quote_identifier

_PIECE_ROWS: Final = 4096
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class EngineTarget:
    """Inserts and statements in one database of the engine. Safe to share between threads."""

    def __init__(self, engine: Engine, database: str) -> None:
        self._engine = engine
        self._database = database

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows once; returns when they are on disk. Raises as `Target.insert` says."""
        try:
            with self._engine.session() as session:
                session.use(self._database)
                # Merges and FINAL remove what is there twice; looking for it at each insert costs a quarter more.
                session.set({"optimize_on_insert": "0", "max_partitions_per_insert_block": "0"})
                session.insert(f"INSERT INTO {quote_identifier(table)}", "ArrowStream", _arrow_stream(rows))
        except EngineError as error:
            raise error_of(error.code, str(error), rows=True) from error

    def command(self, sql: str) -> str:
        """Run a statement and return its result as TabSeparated text. Raises RetryableError or PermanentError."""
        try:
            with self._engine.session() as session:
                session.use(self._database)
                return session.run(sql).data.decode()
        except EngineError as error:
            raise error_of(error.code, str(error)) from error


def _arrow_stream(rows: pa.Table) -> Iterator[bytes]:
    """An Arrow IPC stream, message by message, so that the whole is never in one piece."""
    yield rows.schema.serialize().to_pybytes()
    for batch in rows.to_batches(max_chunksize=_PIECE_ROWS):
        yield batch.serialize().to_pybytes()
    yield _END_OF_STREAM
