"""Attribute values (`AnyValue`) as they lie in the message: of which kind each is, and where its content begins.

A value of one plain field, which is how everybody writes them, is told by its first bytes; its content is not moved
until somebody asks for it. Other ways to write one (several fields, unknown fields, lengths of more bytes than they
need) are legal protobuf, too: such values are decoded as messages and written anew first.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from dimwatch.errors import InvalidError
from ingest.otlp.framing import encode_varint
from ingest.otlp.wire import WireDecoder

STRING: Final = 1
BOOL: Final = 2
INT: Final = 3
DOUBLE: Final = 4
ARRAY: Final = 5
KVLIST: Final = 6
BYTES: Final = 7
"""Kinds: the field numbers of `AnyValue`. 0 is no value."""

Kinds = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Bounds = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_TAG: Final = {STRING: 0x0A, BOOL: 0x10, INT: 0x18, DOUBLE: 0x21, ARRAY: 0x2A, KVLIST: 0x32, BYTES: 0x3A}
_KIND_OF_TAG: Final = np.zeros(256, dtype=np.uint8)
_KIND_OF_TAG[list(_TAG.values())] = list(_TAG)
_HAS_LENGTH: Final = np.isin(np.arange(8), (STRING, ARRAY, KVLIST, BYTES))
_LONGEST: Final = 10
"""Bytes of a varint of 64 bits."""
_LENGTH_BYTES: Final = 4
"""Bytes of the longest length that is checked where it lies: no request is that long."""
_MORE: Final = np.array([0, 0, 0x80, 0x8080, 0x808080], dtype=np.uint32)
"""By bytes of a varint: the bits that say that another byte follows."""
_WITHIN: Final = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF], dtype=np.uint32)
_FIELDS: Final = {
    STRING: "string_value", INT: "int_value", DOUBLE: "double_value", BOOL: "bool_value", ARRAY: "array_value",
    KVLIST: "kvlist_value", BYTES: "bytes_value",
}  # fmt: skip
"""In the order in which they count, where a value has several."""


class Values:
    """A column of values; rows are numbered from 0 on."""

    def __init__(self, encoded: pa.BinaryArray) -> None:
        """`encoded`: each value as a message; empty where there is none. Raises InvalidError if one is malformed."""
        count = len(encoded)
        data, start = _bytes_of(encoded)
        kind, header, odd = _outline(data, start)
        if odd.any():
            anew = _written_anew(encoded.filter(pa.array(odd)))
            data, start = _bytes_of(pc.replace_with_mask(encoded, pa.array(odd), anew))
            kind, header, _ = _outline(data, start)
        self.kind: Kinds = kind
        self._data = data
        self._start = start
        # Headers and contents by turns: so the contents are every second element of an array, without being moved.
        bounds = np.empty(2 * count + 1, dtype=np.int32)
        bounds[::2], bounds[1::2] = start, start[:-1] + header
        is_string = np.zeros(2 * count, dtype=np.bool_)
        is_string[1::2] = kind == STRING
        valid = pa.py_buffer(np.packbits(is_string, bitorder="little"))
        buffers = pa.py_buffer(bounds), pa.py_buffer(data)
        self._strings = pa.StringArray.from_buffers(2 * count, *buffers, valid)
        self._contents = pa.Array.from_buffers(pa.binary(), 2 * count, [None, *buffers])
        try:
            self._strings.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InvalidError(f"malformed OTLP request: {error}") from error

    def strings(self, rows: Rows) -> pa.Array:
        """The strings at `rows`; null where a row is negative, or its value no string."""
        negative = rows < 0
        return self._strings.take(pa.array(2 * rows + 1, mask=negative if negative.any() else None))

    def contents(self, rows: Rows) -> pa.Array:
        """The bytes of values that have a length: of kind STRING, ARRAY, KVLIST or BYTES."""
        return self._contents.take(pa.array(2 * rows + 1))

    def integers(self, rows: Rows) -> Rows:
        """The numbers of values of kind INT or BOOL."""
        begin, end = self._start[rows] + 1, self._start[rows + 1]
        numbers = np.zeros(len(rows), dtype=np.uint64)
        for place in range(int((end - begin).max(initial=0))):
            within = begin + place < end
            byte = self._data[np.where(within, begin + place, 0)] & np.uint8(0x7F)
            numbers |= np.where(within, byte.astype(np.uint64) << np.uint64(7 * place), np.uint64(0))
        return numbers.view(np.int64)

    def doubles(self, rows: Rows) -> npt.NDArray[np.float64]:
        """The numbers of values of kind DOUBLE."""
        # A double from each byte on.
        numbers: npt.NDArray[np.float64] = np.ndarray(len(self._data) - 7, "<f8", self._data, strides=(1,))
        return numbers[self._start[rows] + 1]


def _bytes_of(encoded: pa.BinaryArray) -> tuple[Bytes, Bounds]:
    """The bytes that values lie in, and where each begins; the last bound is the end of the last."""
    if not len(encoded):
        return np.zeros(8, dtype=np.uint8), np.zeros(1, dtype=np.int32)
    _, bounds, data = encoded.buffers()
    start = np.frombuffer(bounds, dtype=np.int32, count=len(encoded) + 1, offset=4 * encoded.offset)
    found = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    return found if len(found) >= 8 else np.append(found, np.zeros(8, dtype=np.uint8)), start


def _outline(data: Bytes, start: Bounds) -> tuple[Kinds, Bounds, Mask]:
    """By value: its kind, the bytes before its content, and whether it must be written anew to be read."""
    size = np.diff(start)
    # Eight bytes from each beginning, as one number; the last ones from where eight are left.
    last = len(data) - 8
    words = np.ndarray(len(data) - 7, "<u8", data, strides=(1,))[np.minimum(start[:-1], last)]
    tail = int(np.searchsorted(start[:-1], last))
    words[tail:] >>= (8 * np.minimum(start[tail:-1] - last, 7)).astype(np.uint64)
    kind = _KIND_OF_TAG[words.astype(np.uint8)]
    kind[size == 0] = 0

    has_length = _HAS_LENGTH[kind]
    length_bytes = np.ones(len(size), dtype=np.int32)
    largest = int(size.max(initial=0))
    for more in range(1, _LENGTH_BYTES + 1):
        if largest <= more + (1 << 7 * more):
            break
        length_bytes += size > more + (1 << 7 * more)
    length = (size - 1 - length_bytes).astype(np.uint32)
    bits = length & np.uint32(0x7F)
    for place in range(1, int(length_bytes.max(initial=0))):
        bits |= (length >> np.uint32(7 * place) & np.uint32(0x7F)) << np.uint32(8 * place)
    known = np.minimum(length_bytes, _LENGTH_BYTES)
    odd = ((words >> np.uint64(8)).astype(np.uint32) ^ bits ^ _MORE[known]) & _WITHIN[known] != 0
    odd |= (length_bytes > _LENGTH_BYTES) | (size < 2)
    odd &= has_length
    odd |= (kind == 0) & (size > 0)
    odd |= (kind == DOUBLE) & (size != 9)
    odd |= _odd_numbers(data, start, (kind == INT) | (kind == BOOL))
    header = np.where(has_length, 1 + length_bytes, kind != 0).astype(np.int32)
    return kind, header, odd


def _odd_numbers(data: Bytes, start: Bounds, mask: Mask) -> Mask:
    """Of the values of `mask`, which are varints: those that are more than that or none."""
    odd = np.zeros(len(mask), dtype=np.bool_)
    rows = np.flatnonzero(mask)
    begin, last = start[rows] + 1, start[rows + 1] - 1
    size = last - begin + 1
    wrong = (size < 1) | (size > _LONGEST)
    for place in range(int(size[~wrong].max(initial=0))):
        at = np.minimum(begin + place, last)
        wrong |= (data[at] >= 0x80) != (at < last)
    wrong |= (size == _LONGEST) & (data[last] > 1)
    odd[rows] = wrong
    return odd


@cache
def _decoder() -> WireDecoder:
    return WireDecoder("AnyValue")


def _written_anew(encoded: pa.BinaryArray) -> pa.BinaryArray:
    """The same values, each as a message of one field."""
    found = _decoder().fields(encoded.to_pylist()).to_pylist()
    return pa.array([_message(fields) for fields in found], pa.binary())


def _message(fields: dict[str, str | bytes | bool | int | float | None]) -> bytes:
    for kind, name in _FIELDS.items():
        content = fields[name]
        if isinstance(content, str | bytes):
            raw = content.encode() if isinstance(content, str) else content
            return bytes((_TAG[kind],)) + encode_varint(len(raw)) + raw
        if content is not None:
            return AnyValue(**{name: content}).SerializeToString()  # type: ignore[arg-type]
    return b""
