"""The Native format in the layout that newer protocol revisions want.

Clients that send `client_protocol_version` (Go, and so Grafana's plug-in) expect a header before each block
and a byte before each column. The embedded engine cannot be told the revision and always writes the oldest
layout, so the blocks are taken apart here and written again; the columns themselves are copied as they are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from dimwatch.store.engine import EngineError

CUSTOM_SERIALIZATION_REVISION: Final = 54454
"""From this revision on a column says whether its serialization is special, and blocks have a header."""

_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # no overflow, no bucket
_NOT_SPECIAL: Final = b"\x00"

_WIDTHS: Final = {
    "Bool": 1, "Int8": 1, "UInt8": 1, "Enum8": 1, "Nothing": 1, "Int16": 2, "UInt16": 2, "Enum16": 2, "Date": 2,
    "BFloat16": 2, "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "IPv4": 4, "Time": 4,
    "Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8, "Int128": 16, "UInt128": 16, "UUID": 16,
    "IPv6": 16, "Int256": 32, "UInt256": 32,
}  # fmt: skip
_INTERVAL: Final = re.compile(r"Interval\w+")
_DECIMAL_WIDTHS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))


def with_revision(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Rewrite chunks of whole blocks. Raises EngineError (48) for types that this cannot walk over."""
    for chunk in chunks:
        if not chunk:
            continue
        try:
            yield b"".join(_Walk(chunk).blocks())
        except (IndexError, ValueError, struct.error) as error:
            raise EngineError.refusal(48, "NOT_IMPLEMENTED", f"The result cannot be sent so: {error}") from error


class _Walk:
    """A position in a chunk, and how far each type reaches."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def blocks(self) -> Iterator[bytes]:
        while self._at < len(self._data):
            start = self._at
            columns, rows = self._number(), self._number()
            yield _BLOCK_INFO + self._data[start : self._at]
            for _ in range(columns):
                start = self._at
                self._text()
                type_ = self._text().decode()
                yield self._data[start : self._at] + _NOT_SPECIAL
                start = self._at
                if rows:
                    self._prefix(type_)
                    self._values(type_, rows)
                yield self._data[start : self._at]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _text(self) -> bytes:
        size = self._number()
        self._at += size
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        (value,) = struct.unpack_from("<Q", self._data, self._at)
        self._at += 8
        return int(value)

    def _prefix(self, type_: str) -> None:
        """Step over what a column says before its values: only LowCardinality says something, a version."""
        name, arguments = _parse(type_)
        if name == "LowCardinality":
            self._at += 8
        elif name in ("Array", "Nullable", "Map", "Tuple"):
            for argument in arguments:
                self._prefix(argument)

    def _values(self, type_: str, rows: int) -> None:
        """Step over `rows` values of a type."""
        name, arguments = _parse(type_)
        if name == "String":
            for _ in range(rows):
                size = self._number()
                self._at += size
        elif name == "Nullable":
            self._at += rows
            self._values(arguments[0], rows)
        elif name == "Array":
            self._values(arguments[0], self._elements(rows))
        elif name == "Map":
            elements = self._elements(rows)
            self._values(arguments[0], elements)
            self._values(arguments[1], elements)
        elif name == "Tuple":
            for argument in arguments:
                self._values(argument, rows)
            self._at += 0 if arguments else rows
        elif name == "LowCardinality":
            self._dictionary(arguments[0], rows)
        else:
            self._at += rows * _width(name, arguments, type_)

    def _elements(self, rows: int) -> int:
        """Step over the offsets of arrays; the last one is the number of elements."""
        if not rows:
            return 0
        self._at += 8 * (rows - 1)
        return self._unsigned()

    def _dictionary(self, type_: str, rows: int) -> None:
        if not rows:
            return
        index_width = 1 << (self._unsigned() & 0xF)
        keys = self._unsigned()
        name, arguments = _parse(type_)
        self._values(arguments[0] if name == "Nullable" else type_, keys)
        indexes = self._unsigned()
        self._at += indexes * index_width


def _width(name: str, arguments: list[str], type_: str) -> int:
    if name in _WIDTHS:
        return _WIDTHS[name]
    if name == "FixedString":
        return int(arguments[0])
    if name == "Decimal":
        return next(width for digits, width in _DECIMAL_WIDTHS if int(arguments[0]) <= digits)
    if _INTERVAL.fullmatch(name):
        return 8
    raise EngineError.refusal(
        48, "NOT_IMPLEMENTED", f"{type_} cannot be sent to this client: cast the column, e.g. with toString()"
    )


def _parse(type_: str) -> tuple[str, list[str]]:
    """The name of a type and its arguments; of a named tuple's elements the types alone."""
    name, bracket, rest = type_.partition("(")
    if not bracket or name.startswith("Enum"):
        return name, []
    arguments: list[str] = []
    depth, start, quoted = 0, 0, ""
    inner = rest[:-1]
    for at, letter in enumerate(inner):
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'`":
            quoted = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and depth == 0:
            arguments.append(inner[start:at].strip())
            start = at + 1
    if inner:
        arguments.append(inner[start:].strip())
    if name == "Tuple":
        arguments = [_element_type(argument) for argument in arguments]
    return name, arguments


def _element_type(argument: str) -> str:
    """`String` of "a String", "`a b` String" and "String"."""
    if argument.startswith("`"):
        return argument[argument.index("`", 1) + 1 :].strip()
    head, blank, tail = argument.partition(" ")
    return tail.strip() if blank and "(" not in head else argument
