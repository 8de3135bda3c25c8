"""Just enough of a lexer for SQL: to find the format of a statement and where an INSERT's data begins.

What a statement *does* is never decided here, that is for the engine's own parser (see `guard`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    rb"(?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?\*/)"
    rb"|(?P<quoted>'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`\\]|\\.|``)*`)"
    rb"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    rb"|(?P<other>[^\s])",
    re.DOTALL | re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: bytes
    start: int
    end: int


def _tokens(sql: bytes) -> Iterator[_Token]:
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "other"
        if kind != "space":
            yield _Token(kind, match[0], match.start(), match.end())


def first_word(sql: bytes) -> str:
    """The first keyword in upper case, opening brackets aside; "" if the statement starts with none."""
    for token in _tokens(sql):
        if token.text == b"(":
            continue
        return token.text.decode().upper() if token.kind == "word" else ""
    return ""


def has_call_or_subquery(sql: bytes) -> bool:
    """Whether there is a bracket outside of quotes and comments."""
    return any(token.text == b"(" for token in _tokens(sql))


def output_format(sql: bytes) -> str | None:
    """The format that a query's own FORMAT clause asks for."""
    depth, tokens = 0, list(_tokens(sql))
    found = None
    for index, token in enumerate(tokens[:-1]):
        depth += (token.text == b"(") - (token.text == b")")
        follows = tokens[index + 1]
        if depth == 0 and token.kind == "word" and token.text.upper() == b"FORMAT" and follows.kind == "word":
            after = tokens[index + 2].text.upper() if index + 2 < len(tokens) else b";"
            if after in (b";", b"SETTINGS", b"INTO"):
                found = follows.text.decode()
    return found


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT that carries data, taken apart."""

    statement: str  # up to the FORMAT clause
    input_format: str
    data: bytes  # what followed the clause


def split_insert(sql: bytes) -> Insert | None:
    """Take an `INSERT … FORMAT x …` or `INSERT … VALUES …` apart; None for any other statement."""
    tokens = _tokens(sql)
    first = next(tokens, None)
    if first is None or first.text.upper() != b"INSERT":
        return None
    depth = 0
    previous: _Token | None = None
    for token in tokens:
        word = token.text.upper() if token.kind == "word" else b""
        if previous is not None and token.kind == "word":
            statement = sql[: previous.start].decode()
            return Insert(statement, token.text.decode(), _data(sql, token.end))
        depth += (token.text == b"(") - (token.text == b")")
        if depth == 0 and word == b"FORMAT":
            previous = token
        elif depth == 0 and word == b"VALUES":
            return Insert(sql[: token.start].decode(), "Values", sql[token.end :])
        elif depth == 0 and word in (b"SELECT", b"WITH", b"FROM"):
            return None
    return None


def _data(sql: bytes, start: int) -> bytes:
    """The data after a FORMAT clause: blanks and one line break belong to the statement."""
    while sql[start : start + 1] in (b" ", b"\t", b"\f", b";"):
        start += 1
    if sql[start : start + 1] == b"\r":
        start += 1
    if sql[start : start + 1] == b"\n":
        start += 1
    return sql[start:]
