"""The thin client of ClickHouse, embedded or server: queries with bound parameters, and Arrow inserts.

Errors come as `RetryableError` (the same call may work later) or `PermanentError` (it will not).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import stamina
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from urllib3.exceptions import HTTPError

from dimwatch.errors import RetryableError
from dimwatch.settings import Settings
from dimwatch.store.access import INTERNAL_USER, is_loopback, token_path
from dimwatch.store.codes import BUSY, error_of

T = TypeVar("T")


class _Busy(RetryableError):
    """The store could not be reached, or took no more queries."""


Values = Mapping[str, object]
"""Values for the `{name:Type}` placeholders of a query."""


class StoreClient:
    """Speaks to the ClickHouse of `settings.store`. Safe to share between threads: each has a connection."""

    def __init__(self, settings: Settings, *, writer: bool = False, timeout_s: float = 70.0) -> None:
        """Connects at the first call. A `writer` presents the token of the embedded store, if there is one."""
        self._settings = settings
        self._writer = writer
        self._timeout_s = timeout_s
        self._near = is_loopback(settings.store.host)  # compression costs more than it saves there
        self._local = threading.local()

    def rows(self, sql: str, values: Values | None = None) -> Sequence[Sequence[Any]]:
        """Run a query and return its rows."""
        return self._read(lambda client: client.query(sql, parameters=_bound(values)).result_rows)

    def frame(self, sql: str, values: Values | None = None) -> pd.DataFrame:
        """Run a query and return a data frame."""
        return self._read(lambda client: client.query_df(sql, parameters=_bound(values)))

    def table(self, sql: str, values: Values | None = None) -> pa.Table:
        """Run a query and return an Arrow table."""
        return self._read(lambda client: client.query_arrow(sql, parameters=_bound(values)))

    def text(self, sql: str, output_format: str, values: Values | None = None) -> bytes:
        """Run a query and return its result as ClickHouse writes it in `output_format`."""
        return self._read(lambda client: client.raw_query(sql, parameters=_bound(values), fmt=output_format))

    def command(self, sql: str) -> str:
        """Run a statement that changes something, once, and return its result as TabSeparated text."""
        return self._call(
            lambda client: client.raw_query(sql, fmt="TabSeparated" if _gives_rows(sql) else None)
        ).decode()

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows once; returns when the store has them on disk.

        After an error some of them may be there, so insert again only into tables that stand repetition.
        """
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=None if self._near else pa.Codec("lz4"))
        with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
            writer.write_table(rows)
        block = sink.getvalue().to_pybytes()
        settings = {"optimize_on_insert": 0, "max_partitions_per_insert_block": 0}
        self._call(lambda client: client.raw_insert(table, insert_block=block, fmt="ArrowStream", settings=settings))

    def close(self) -> None:
        """Close this thread's connection."""
        client = self._local.__dict__.pop("client", None)
        if client is not None:
            client.close()

    def _read(self, call: Callable[[Client], T]) -> T:
        for attempt in stamina.retry_context(on=_Busy, attempts=3, wait_initial=0.1, wait_max=1.0, timeout=10.0):
            with attempt:
                return self._call(call)
        raise AssertionError("unreachable")

    def _call(self, call: Callable[[Client], T]) -> T:
        try:
            return call(self._client())
        except DatabaseError as error:
            if error.code is None:
                raise self._unreachable(error) from error
            if error.code in BUSY:
                raise _Busy(f"the store is busy: {error}") from error
            raise error_of(error.code, str(error)) from error
        except (ClickHouseError, HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> _Busy:
        store = self._settings.store
        return _Busy(
            f"the store at {store.host}:{store.http_port} does not answer (is `dimwatch up` running?): {error}"
        )

    def _client(self) -> Client:
        client = getattr(self._local, "client", None)
        if client is None:
            user, password = self._account()
            store = self._settings.store
            client = clickhouse_connect.get_client(
                host=store.host,
                port=store.http_port,
                username=user,
                password=password,
                database=store.database,
                compress=not self._near,
                connect_timeout=5,
                send_receive_timeout=self._timeout_s,
                autogenerate_session_id=False,
                dedicated_pool=True,
            )
            self._local.client = client
        return cast("Client", client)

    def _account(self) -> tuple[str, str]:
        store = self._settings.store
        password = store.password.get_secret_value()
        if password or not self._writer:
            return store.user, password
        try:
            return INTERNAL_USER, token_path(self._settings).read_text().strip()
        except FileNotFoundError:
            return store.user, password


def _bound(values: Values | None) -> dict[str, object]:
    return dict(values or {})


def _gives_rows(sql: str) -> bool:
    return sql.split(None, 1)[0].upper() in ("SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS")
