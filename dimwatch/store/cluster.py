"""The migrations for a cluster of ClickHouse servers: the same tables, replicated in a shard and spread over shards.

A table `t` becomes `t_local` on every server, of the Replicated engine, and `t`, which is Distributed over all of them:
what is written to and read from `t` on one server is written to and read from the cluster. Rows of one sorting key go
to one shard, so that replacing and FINAL see all versions of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from dimwatch.errors import PermanentError
from dimwatch.store.engine import quote_identifier, quote_string

LOCAL: Final = "_local"
REPLICA_PATH: Final = "/clickhouse/tables/{shard}/{database}/{table}"
EVERYWHERE: Final = "/clickhouse/tables/all/{database}/{table}"
"""For a table that every server has whole: one path for all shards, so that all of them are replicas."""

_BY_TRACE: Final = frozenset({"span_versions", "trace_versions", "observation_versions"})
"""With the trace they belong to: one shard has everything about a trace."""
_TRACE_KEY: Final = "trace_key"
"""The same hash, where it is a column."""
_TIME: Final = "time"
"""Not part of what rows are spread by: a series stays together."""

_TABLE: Final = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\s*(?P<columns>\(.*\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^()]*)\))?\s(?P<rest>.*)",
    re.DOTALL,
)
_SORTED: Final = re.compile(r"ORDER BY (?:\((?P<key>.*?)\)|(?P<column>\w+))(?=\s*(?:\n|TTL|SETTINGS|$))", re.DOTALL)
_VIEW: Final = re.compile(
    r"(?P<create>CREATE (?:OR REPLACE )?VIEW(?: IF NOT EXISTS)?) (?P<name>\w+)(?P<rest>\s.*)", re.DOTALL
)
_MATERIALIZED: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<name>\w+)\s+TO (?P<to>\w+)(?P<rest>\s.*)", re.DOTALL
)
_ALTER: Final = re.compile(
    r"ALTER TABLE (?P<name>\w+)\s+(?P<what>(?:ADD|DROP|MODIFY|RENAME|MATERIALIZE)\s+(?P<kind>\w+)\s.*)", re.DOTALL
)
_DROP: Final = re.compile(r"DROP (?P<kind>TABLE|VIEW) IF EXISTS (?P<name>\w+)", re.DOTALL)
_FROM: Final = re.compile(r"\b(FROM|JOIN) (\w+)( AS \w+)?")


class Cluster:
    """Rewrites statements of migrations for one database of one cluster."""

    def __init__(self, name: str, database: str, tables: Iterable[str]) -> None:
        """`tables`: all that migrations create, so that views are told from them."""
        self._on = f"ON CLUSTER {quote_identifier(name)}"
        self._name, self._database = name, database
        self._tables = frozenset(tables)

    def create_database(self) -> str:
        """The database, on every server."""
        return f"CREATE DATABASE IF NOT EXISTS {quote_identifier(self._database)} {self._on}"

    def everywhere(self, statement: str) -> str:
        """A small table that every server has whole."""
        parts = _TABLE.fullmatch(statement.strip())
        if parts is None:
            raise PermanentError(f"this is no table: {statement[:60]}")
        engine = _replicated(parts, EVERYWHERE, "{shard}-{replica}")
        return f"CREATE TABLE IF NOT EXISTS {self._place(parts['name'])} {self._on}\n{parts['columns']}\n{engine}"

    def variants(self, statement: str) -> list[str]:
        """What to run instead of a statement. Raises PermanentError for one that has no variant."""
        if parts := _TABLE.fullmatch(statement):
            return self._table(parts)
        if parts := _VIEW.fullmatch(statement):
            return [f"{parts['create']} {self._place(parts['name'])} {self._on}{self._placed(parts['rest'])}"]
        if parts := _MATERIALIZED.fullmatch(statement):
            # On each server, of what arrives there.
            target, rest = self._place(self._local(parts["to"])), self._placed(parts["rest"], local=True)
            place = self._place(parts["name"])
            return [f"CREATE MATERIALIZED VIEW IF NOT EXISTS {place} {self._on} TO {target}{rest}"]
        if parts := _ALTER.fullmatch(statement):
            return self.altered(parts["name"], parts["what"], columns=parts["kind"].upper() == "COLUMN")
        if parts := _DROP.fullmatch(statement):
            names = [parts["name"], *([self._local(parts["name"])] if parts["kind"] == "TABLE" else [])]
            return [f"DROP {parts['kind']} IF EXISTS {self._place(name)} {self._on}" for name in names]
        raise PermanentError(f"a migration has a statement without a variant for clusters: {statement[:100]}")

    def altered(self, table: str, what: str, *, columns: bool) -> list[str]:
        """An ALTER of a table: where the rows are first, so that nothing asks for columns that are not there yet."""
        names = [self._local(table), *([table] if columns else [])]
        return [f"ALTER TABLE {self._place(name)} {self._on} {what}" for name in names]

    def _table(self, parts: re.Match[str]) -> list[str]:
        name, local = parts["name"], parts["name"] + LOCAL
        distributed = ", ".join(
            (
                quote_string(self._name),
                quote_string(self._database),
                quote_string(local),
                self._spread(name, parts["rest"]),
            )
        )
        return [
            f"CREATE TABLE IF NOT EXISTS {self._place(local)} {self._on}\n{parts['columns']}\n"
            f"{_replicated(parts, REPLICA_PATH, '{replica}')}",
            f"CREATE TABLE IF NOT EXISTS {self._place(name)} {self._on} AS {self._place(local)}"
            f"\nENGINE = Distributed({distributed})",
        ]

    def _spread(self, table: str, rest: str) -> str:
        if table in _BY_TRACE:
            return "cityHash64(trace_id)"
        found = _SORTED.search(rest)
        key = (found["key"] or found["column"] or "") if found else ""
        columns = [column for part in key.split(",") if (column := part.strip()) and column != _TIME]
        if _TRACE_KEY in columns:
            return _TRACE_KEY
        if not columns:
            raise PermanentError(f"the table {table} of a migration has no sorting key to spread its rows by")
        return f"cityHash64({', '.join(columns)})"

    def _local(self, name: str) -> str:
        return name + LOCAL if name in self._tables else name

    def _place(self, name: str) -> str:
        return f"{quote_identifier(self._database)}.{quote_identifier(name)}"

    def _placed(self, text: str, *, local: bool = False) -> str:
        """Names behind FROM and JOIN with their database: on other servers another one is the current."""

        def place(found: re.Match[str]) -> str:
            named = self._place(self._local(found[2]) if local else found[2])
            # Columns may be qualified by the table's name.
            return f"{found[1]} {named}{found[3] or f' AS {found[2]}'}"

        return _FROM.sub(place, text)


def _replicated(parts: re.Match[str], path: str, replica: str) -> str:
    arguments = ", ".join(filter(None, (quote_string(path), quote_string(replica), parts["arguments"])))
    return f"ENGINE = Replicated{parts['engine']}({arguments})\n{parts['rest']}"
