"""Attribute lists as one tidy table: a row an attribute, with its owner, its key and its typed value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

Indices = npt.NDArray[np.int64]


def owners_of(lists: pa.ListArray) -> Indices:
    """For each flattened element of `lists`, the number of the list that holds it."""
    offsets = lists.offsets.to_numpy()
    return np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(offsets))


def elements_of(lists: pa.ListArray) -> pa.Array:
    """All elements of `lists` in order."""
    return lists.flatten()


@dataclass(slots=True)
class Attributes:
    """Rows of (owner, key, value); the value is in the one typed column that is not null."""

    owner: Indices
    key: pa.Array
    string: pa.Array
    boolean: pa.Array
    integer: pa.Array
    double: pa.Array
    array: pa.Array
    kvlist: pa.Array
    bytes: pa.Array

    @classmethod
    def of(cls, lists: pa.ListArray, owner: Indices | None = None) -> Attributes:
        """Read a list<KeyValue> column. `owner` renames the lists (list number to owner number)."""
        rows = elements_of(lists)
        numbers = owners_of(lists)
        value = rows.field("value")
        return cls(
            owner=numbers if owner is None else owner[numbers],
            key=rows.field("key"),
            string=value.field("string_value"),
            boolean=value.field("bool_value"),
            integer=value.field("int_value"),
            double=value.field("double_value"),
            array=value.field("array_value"),
            kvlist=value.field("kvlist_value"),
            bytes=value.field("bytes_value"),
        )

    @classmethod
    def concat(cls, parts: list[Attributes]) -> Attributes:
        """Rows of all parts, in order."""

        def joined(name: str) -> pa.Array:
            return pa.concat_arrays([getattr(part, name) for part in parts])

        names = ("key", "string", "boolean", "integer", "double", "array", "kvlist", "bytes")
        return cls(np.concatenate([part.owner for part in parts]), *(joined(name) for name in names))

    def __len__(self) -> int:
        return len(self.owner)

    def by_key(self) -> Iterator[tuple[str, Indices]]:
        """Each distinct key with the rows that carry it, in row order."""
        if not len(self):
            return
        encoded = self.key.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
        for number, key in enumerate(encoded.dictionary.to_pylist()):
            yield key, order[bounds[number] : bounds[number + 1]]

    def text(self, rows: pa.Array | Indices) -> pa.Array:
        """The values of `rows` (null row: null value) as strings: numbers in decimal, nested values as JSON."""
        picked = self.string.take(rows)
        if not picked.null_count:
            return picked
        for column in (self.integer, self.double, self.boolean):
            other = column.take(rows)
            if other.null_count < len(other):
                picked = pc.coalesce(picked, _decimal(other))
        for column, parse in (
            (self.array, _array_json),
            (self.kvlist, _kvlist_json),
            (self.bytes, _bytes_json),
        ):
            other = column.take(rows)
            if other.null_count < len(other):
                encoded = other.dictionary_encode()
                texts = pa.array([parse(value) for value in encoded.dictionary.to_pylist()], pa.string())
                picked = pc.coalesce(picked, texts.take(encoded.indices))
        return picked

    def number(self, rows: pa.Array | Indices) -> pa.Array:
        """The values of `rows` as doubles; a string that is a number counts, anything else is null."""
        picked = pc.coalesce(pc.cast(self.integer.take(rows), pa.float64(), safe=False), self.double.take(rows))
        texts = self.string.take(rows)
        if texts.null_count < len(texts):
            numeric = pc.match_substring_regex(texts, r"^-?\d{1,18}(\.\d{1,18})?$")
            parsed = pc.cast(pc.if_else(numeric, texts, None), pa.float64())
            picked = pc.coalesce(picked, parsed)
        return picked


def _decimal(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        whole = pc.equal(values, pc.floor(values))
        small = pc.and_(whole, pc.less(pc.abs(values), 1e15))
        integers = pc.cast(pc.if_else(small, values, None), pa.int64())
        return pc.coalesce(pc.cast(integers, pa.string()), pc.cast(values, pa.string()))
    return pc.cast(values, pa.string())


def plain(value: AnyValue) -> object:
    """A protobuf AnyValue as plain Python data."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    if kind == "bytes_value":
        return value.bytes_value.hex()
    content: object = getattr(value, kind)
    return content


def _dumps(value: object) -> str:
    # NaN and infinity become null, as JSON has no word for them.
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _array_json(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    try:
        return _dumps([plain(item) for item in ArrayValue.FromString(raw).values])
    except (DecodeError, RecursionError, orjson.JSONEncodeError):
        return None


def _kvlist_json(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    try:
        return _dumps({item.key: plain(item.value) for item in KeyValueList.FromString(raw).values})
    except (DecodeError, RecursionError, orjson.JSONEncodeError):
        return None


def _bytes_json(raw: bytes | None) -> str | None:
    return None if raw is None else raw.hex()
