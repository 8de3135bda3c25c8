"""Attribute lists as one tidy table: a row an attribute, with its owner, its key and its typed value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from ingest.otlp.values import ARRAY, BOOL, BYTES, DOUBLE, INT, KVLIST, STRING, Values

Indices = npt.NDArray[np.int64]

NO_ROW: Final = -1


def owners_of(lists: pa.ListArray) -> Indices:
    """For each flattened element of `lists`, the number of the list that holds it."""
    offsets = lists.offsets.to_numpy()
    return np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(offsets))


def elements_of(lists: pa.ListArray) -> pa.Array:
    """All elements of `lists` in order."""
    return lists.flatten()


class Attributes:
    """Rows of (owner, key, value), in the order in which the sender wrote them."""

    def __init__(self, owner: Indices, key: pa.Array, value: Values) -> None:
        self.owner = owner
        self.key = key
        self.value = value

    @classmethod
    def of(cls, lists: pa.ListArray) -> Attributes:
        """Read a list<KeyValue> column; a list's number is its owner. Raises InvalidError if a value is malformed."""
        rows = elements_of(lists)
        return cls(owners_of(lists), rows.field("key"), Values(rows.field("value")))

    def owned_by(self, owner: Indices) -> Attributes:
        """The same attributes with other names for their owners: old number to new one."""
        return Attributes(owner[self.owner], self.key, self.value)

    def __len__(self) -> int:
        return len(self.owner)

    @cached_property
    def _keys(self) -> pa.DictionaryArray:
        return self.key.dictionary_encode()

    @cached_property
    def _codes(self) -> npt.NDArray[np.integer[Any]]:
        codes: npt.NDArray[np.int32] = self._keys.indices.to_numpy(zero_copy_only=False)
        # Small numbers are sorted faster.
        return codes.astype(np.int16) if len(self._keys.dictionary) <= np.iinfo(np.int16).max else codes

    @cached_property
    def by_key(self) -> dict[str, Indices]:
        """Each distinct key with the rows that carry it, in row order."""
        names = self._keys.dictionary.to_pylist()
        order = np.argsort(self._codes, kind="stable")
        ends = np.cumsum(np.bincount(self._codes, minlength=len(names)))[:-1]
        return dict(zip(names, np.split(order, ends), strict=True)) if names else {}

    def rows_with(self, wanted: Callable[[str], bool]) -> Indices:
        """The rows whose key is wanted, in row order."""
        right = np.array([wanted(name) for name in self._keys.dictionary.to_pylist()], dtype=np.bool_)
        rows: Indices = np.flatnonzero(right[self._codes]) if len(right) else np.empty(0, dtype=np.int64)
        return rows

    def text(self, rows: Indices) -> pa.Array:
        """The values of `rows` (negative: null) as strings: numbers in decimal, nested values as JSON."""
        if not len(self):
            return self.value.strings(rows)
        kinds, nothing = self.value.kind[rows], rows < 0
        if ((kinds <= STRING) | nothing).all():
            return self.value.strings(rows)
        kinds[nothing] = 0
        counts = np.bincount(kinds, minlength=BYTES + 1)
        counts[0] = 0
        parts, at = [], []
        for kind in np.flatnonzero(counts).tolist():
            at.append(np.flatnonzero(kinds == kind))
            parts.append(_AS_TEXT[kind](self.value, rows[at[-1]]))
        place = np.full(len(rows), NO_ROW, dtype=np.int64)
        place[np.concatenate(at)] = np.arange(sum(len(part) for part in parts))
        return pa.concat_arrays(parts).take(pa.array(place, mask=place < 0))

    def number(self, rows: Indices) -> npt.NDArray[np.float64]:
        """The values of `rows` as doubles; a string that is a number counts, anything else is NaN."""
        numbers = np.full(len(rows), np.nan)
        kinds = self.value.kind[rows]
        for kind in np.unique(kinds).tolist():
            if kind in _AS_NUMBER:
                at = np.flatnonzero(kinds == kind)
                numbers[at] = _AS_NUMBER[kind](self.value, rows[at])
        return numbers


def _parsed(values: Values, rows: Indices) -> npt.NDArray[np.float64]:
    texts = values.strings(rows)
    numeric = pc.match_substring_regex(texts, r"^-?\d{1,18}(\.\d{1,18})?$")
    parsed: npt.NDArray[np.float64] = pc.cast(pc.if_else(numeric, texts, None), pa.float64()).to_numpy(
        zero_copy_only=False
    )
    return parsed


def _integers(values: Values, rows: Indices) -> pa.Array:
    return _by_distinct(pa.array(values.integers(rows)), lambda numbers: pc.cast(numbers, pa.string()))


def _doubles(values: Values, rows: Indices) -> pa.Array:
    return _by_distinct(pa.array(values.doubles(rows)), _decimals)


def _by_distinct(numbers: pa.Array, text: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Numbers as text, each that occurs written once: they are mostly settings."""
    encoded = numbers.dictionary_encode()
    return text(encoded.dictionary).take(encoded.indices)


def _decimals(doubles: pa.Array) -> pa.Array:
    whole = pc.equal(doubles, pc.floor(doubles))
    small = pc.and_(whole, pc.less(pc.abs(doubles), 1e15))
    integers = pc.cast(pc.if_else(small, doubles, None), pa.int64())
    return pc.coalesce(pc.cast(integers, pa.string()), pc.cast(doubles, pa.string()))


def _decoded(parse: Callable[[bytes], str | None]) -> Callable[[Values, Indices], pa.Array]:
    def texts(values: Values, rows: Indices) -> pa.Array:
        encoded = values.contents(rows).dictionary_encode()
        distinct = pa.array([parse(value) for value in encoded.dictionary.to_pylist()], pa.string())
        return distinct.take(encoded.indices)

    return texts


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


def _array_json(raw: bytes) -> str | None:
    try:
        return _dumps([plain(item) for item in ArrayValue.FromString(raw).values])
    except (DecodeError, RecursionError, orjson.JSONEncodeError):
        return None


def _kvlist_json(raw: bytes) -> str | None:
    try:
        return _dumps({item.key: plain(item.value) for item in KeyValueList.FromString(raw).values})
    except (DecodeError, RecursionError, orjson.JSONEncodeError):
        return None


_AS_TEXT: Final[dict[int, Callable[[Values, Indices], pa.Array]]] = {
    STRING: Values.strings,
    INT: _integers,
    DOUBLE: _doubles,
    BOOL: lambda values, rows: pc.cast(pa.array(values.integers(rows) != 0), pa.string()),
    ARRAY: _decoded(_array_json),
    KVLIST: _decoded(_kvlist_json),
    BYTES: _decoded(bytes.hex),
}
_AS_NUMBER: Final[dict[int, Callable[[Values, Indices], npt.NDArray[Any]]]] = {
    STRING: _parsed,
    INT: Values.integers,
    DOUBLE: Values.doubles,
}
