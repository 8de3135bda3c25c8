"""What readers may run on the embedded engine: one statement that reads our tables and nothing else.

The engine's `readonly` keeps them from writing tables, but not from reading files and addresses of this
machine (`file()`, `url()`, a table named like a path) and not from writing files (`INTO OUTFILE`), and chDB
has no users with rights. So what the engine's own parser says about a statement is checked here before it
runs. On a ClickHouse server, users and grants do this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dimwatch.store.engine import EngineError, Session, quote_string
from dimwatch.store.sqltext import first_word, has_call_or_subquery

ACCESS_DENIED: Final = 497

_STATEMENTS: Final = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"})

_SYSTEM_TABLES: Final = frozenset({
    "one", "numbers", "numbers_mt", "zeros", "zeros_mt", "tables", "columns", "databases", "functions",
    "settings", "formats", "data_type_families", "table_engines", "table_functions", "contributors", "licenses",
    "time_zones", "collations", "keywords", "data_skipping_indices", "completions", "metrics", "events",
})  # fmt: skip

_SCHEMAS: Final = frozenset({"information_schema", "INFORMATION_SCHEMA"})

_TABLE_FUNCTIONS: Final = frozenset({
    "numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "generaterandom",
    "values", "view", "null", "primes",
})  # fmt: skip
"""The table functions that reach nothing outside the query. All others that the engine knows are refused."""

_FUNCTIONS: Final = re.compile(
    r"(?i)file|filesystem\w*|getserver\w+|getmacro|addressto\w+|ai\w+|dict\w+|joinget\w*|catboostevaluate|"
    r"showcertificate|naivebayes\w*|trap|stacktrace"
)

_NODE: Final = re.compile(r"^ *(?P<kind>\w+)(?: (?P<text>.*?))?(?: \(alias [^\n]*\))?(?: \(children \d+\))?$")


class Guard:
    """Knows what the engine offers and refuses what reaches beyond the database."""

    def __init__(self, session: Session, database: str) -> None:
        self._database = database
        known = session.run("SELECT lower(name) FROM system.table_functions").data.decode().split()
        self._refused_functions = frozenset(known) - _TABLE_FUNCTIONS - {"format"}

    def check(self, session: Session, sql: str, params: Mapping[str, str], database: str) -> None:
        """Raise EngineError (code 497, or 62 for what does not parse) unless a reader may run `sql`.

        `session` must be read-only with `implicit_select` off, and have `database` as its current one.
        """
        text = sql.encode()
        keyword = first_word(text)
        if keyword not in _STATEMENTS or not session.only_reads(sql):
            # Nothing of an unchecked statement is run, not even behind EXPLAIN: this only parses a text.
            session.run(f"SELECT formatQuery({quote_string(sql)})")
            raise _denied("readers may run one statement at a time, and it may only read")
        if keyword == "SHOW" and has_call_or_subquery(text):
            raise _denied("SHOW takes no expressions from readers")
        tree = session.run(f"EXPLAIN AST {sql}", "LineAsString", params=params).data.decode(errors="replace")
        lines = tree.splitlines()
        if lines[0].startswith("Explain ") and lines[1:2] == [" Set"]:
            del lines[1]  # options of EXPLAIN itself
        for line in lines:
            self._check_node(line, database)

    def _check_node(self, line: str, database: str) -> None:
        match = _NODE.match(line)
        if match is None:
            return
        kind, text = match["kind"], match["text"] or ""
        if kind == "Set":
            # Settings can hold expressions (additional_table_filters); those of the URL are checked by name.
            raise _denied("readers give settings as URL parameters, not in a SETTINGS clause")
        if kind == "Function" and (text.lower() in self._refused_functions or _FUNCTIONS.fullmatch(text)):
            raise _denied(f"function {text} is not for readers")
        if kind == "TableIdentifier" and not self._readable(text if "." in text else f"{database}.{text}"):
            raise _denied(f"table {text} is not for readers")
        if kind == "Identifier" and text.split(".")[0] in ("system", "default") and not self._readable(text):
            raise _denied(f"{text} is not for readers")

    def _readable(self, name: str) -> bool:
        database, _, table = name.partition(".")
        if database == "system":
            return table.split(".")[0] in _SYSTEM_TABLES or not table
        return database == self._database or database in _SCHEMAS


def _denied(reason: str) -> EngineError:
    return EngineError.refusal(ACCESS_DENIED, "ACCESS_DENIED", f"Not enough privileges: {reason}.")
