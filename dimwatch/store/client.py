"""The thin client of ClickHouse, embedded or server: queries with bound parameters, and Arrow inserts.

Errors come as `RetryableError` (the same call may work later) or `PermanentError` (it will not).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import stamina
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from urllib3.exceptions import HTTPError

from dimwatch.errors import PermanentError, RetryableError
from dimwatch.settings import Settings, Store
from dimwatch.store.access import INTERNAL_USER, is_loopback, token_path
from dimwatch.store.codes import BUSY, error_of

T = TypeVar("T")
_KEPT: Final = 32
"""So many connections wait for the next call; to open one takes longer than most queries."""


class _Busy(RetryableError):
    """The store could not be reached, or took no more queries."""


Values = Mapping[str, object]
"""Values for the `{name:Type}` placeholders of a query."""


class StoreClient:
    """Speaks to the ClickHouse of `settings.store`. Safe to share between threads: there is a connection for each call
    that is going on, which the next one takes over, whatever its thread."""

    def __init__(
        self, settings: Settings, *, writer: bool = False, timeout_s: float = 70.0, database: str | None = None
    ) -> None:
        """Connects at the first call. A `writer` presents the token of the embedded store, if there is one.

        `database`: another one than that of the settings, as it is needed to create that.
        """
        self._settings = settings
        self._database = settings.store.database if database is None else database
        self._writer = writer
        self._timeout_s = timeout_s
        self._near = is_loopback(settings.store.host)  # compressed results cost more than they save there
        self._idle: list[Client] = []

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
        # Near, too: to compress a row takes less than to copy six times its size through two processes.
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("lz4"), use_threads=False)
        with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
            writer.write_table(rows)
        block = cast("bytes", memoryview(sink.getvalue()))  # real bytes would be copied, behind the statement
        settings = insert_settings(self._settings.store)
        self._call(
            lambda client: client.raw_insert(table, insert_block=block, fmt="ArrowStream", settings=settings),
            rows=True,
        )

    def close(self) -> None:
        """Close the connections that no call uses. A later call opens one again."""
        while (client := self._unused()) is not None:
            client.close()

    def _read(self, call: Callable[[Client], T]) -> T:
        for attempt in stamina.retry_context(on=_Busy, attempts=3, wait_initial=0.1, wait_max=1.0, timeout=10.0):
            with attempt:
                return self._call(call)
        raise AssertionError("unreachable")

    def _call(self, call: Callable[[Client], T], *, rows: bool = False) -> T:
        client: Client | None = None
        try:
            client = self._unused() or self._connected()
            return call(client)
        except DatabaseError as error:
            if error.code is None:
                raise self._unreachable(error) from error
            if error.code in BUSY:
                raise _Busy(f"the store is busy: {error}") from error
            raise error_of(error.code, str(error), rows=rows) from error
        except (ClickHouseError, HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            if client is not None:
                self._give_back(client)

    def _unused(self) -> Client | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give_back(self, client: Client) -> None:
        if len(self._idle) < _KEPT:
            self._idle.append(client)
        else:
            client.close()

    def _unreachable(self, error: Exception) -> _Busy:
        store = self._settings.store
        remedy = (
            "is `dimwatch up` running?" if store.mode == "embedded" else "is it up, and are the store settings right?"
        )
        return _Busy(f"the store at {store.host}:{store.http_port} does not answer ({remedy}): {error}")

    def _connected(self) -> Client:
        user, password = self._account()
        store = self._settings.store
        return clickhouse_connect.get_client(
            host=store.host,
            port=store.http_port,
            username=user,
            password=password,
            database=self._database,
            compress=not self._near,
            connect_timeout=5,
            send_receive_timeout=self._timeout_s,
            autogenerate_session_id=False,
            dedicated_pool=True,
            **_tls(store),
        )

    def _account(self) -> tuple[str, str]:
        store = self._settings.store
        password = store.password.get_secret_value()
        if password or not self._writer or store.mode == "server":
            return store.user, password
        try:
            return INTERNAL_USER, token_path(self._settings).read_text().strip()
        except FileNotFoundError:
            return store.user, password


def insert_settings(store: Store) -> dict[str, str]:
    """What an insert asks of ClickHouse: to answer when the rows are on disk, and not to look for doubles.

    Doubles are removed by merges and FINAL; looking for them at each insert costs a quarter more.
    """
    settings = {"optimize_on_insert": "0", "max_partitions_per_insert_block": "0"}
    if store.mode == "server":
        # The sink gathers by itself and knows the offsets of what it inserts. A server that gathers once more, as its
        # profile may say, would only make it wait, or answer before the rows are on disk.
        settings["async_insert"] = "0"
    if store.cluster:
        settings["distributed_foreground_insert"] = "1"
        settings["insert_quorum"] = str(store.insert_quorum)
    return settings


def _tls(store: Store) -> dict[str, Any]:
    if not store.tls:
        return {"interface": "http"}
    options: dict[str, Any] = {"interface": "https", "verify": store.tls_verify}
    if store.tls_ca is not None:
        options["ca_cert"] = str(store.tls_ca)
    if store.tls_cert is not None:
        options["client_cert"] = str(store.tls_cert)
        options["client_cert_key"] = None if store.tls_key is None else str(store.tls_key)
        # With a password the certificate opens the connection only; without one it is the account's proof.
        options["tls_mode"] = "strict" if store.password.get_secret_value() else "mutual"
    return options


def tls_context(store: Store) -> ssl.SSLContext | None:
    """How to open a connection to the store by other means; None without TLS. Raises PermanentError for bad files."""
    if not store.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=None if store.tls_ca is None else str(store.tls_ca))
        if not store.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if store.tls_cert is not None:
            context.load_cert_chain(store.tls_cert, store.tls_key)
    except (OSError, ValueError) as error:
        raise PermanentError(
            f"the certificates for the store can not be used ({error}): look at store.tls_ca, store.tls_cert and"
            " store.tls_key"
        ) from error
    return context


def _bound(values: Values | None) -> dict[str, object]:
    return dict(values or {})


def _gives_rows(sql: str) -> bool:
    return sql.split(None, 1)[0].upper() in ("SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS")
