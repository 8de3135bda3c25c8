"""OTLP/JSON to protobuf.

The mapping is protobuf's own for JSON with OTLP's exceptions: ids are hex, keys are lowerCamelCase, unknown keys
are ignored. An id that is not hex and a time that is out of range become values that admission rejects, so that
one bad span does not cost its whole request.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from struct import Struct
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from dimwatch.errors import InvalidError
from ingest.otlp.framing import DELIMITED, FIXED32, FIXED64, MAX_DEPTH, VARINT, encode_varint
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import Signal

MAX_VALUES: Final = 2_000_000
"""Most JSON values in one request: Python objects are far larger than the text they come from."""

_HEX_FIELDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
_INTEGER: Final = re.compile(r"\A-?[0-9]{1,40}(?:\.0+)?\Z")
_NOT_AN_ID: Final = b"\x00"
_NOT_A_TIME: Final = (1 << 64) - 1
_TOO_DEEP: Final = "nested too deeply"
_WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_FIXED64: FIXED64, FieldDescriptor.TYPE_SFIXED64: FIXED64, FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
    FieldDescriptor.TYPE_STRING: DELIMITED, FieldDescriptor.TYPE_BYTES: DELIMITED,
    FieldDescriptor.TYPE_MESSAGE: DELIMITED,
}  # fmt: skip
"""Of those that are not written as varints."""
_RANGES: Final = {
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1), FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1), FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1), FieldDescriptor.TYPE_FIXED32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(1 << 63), (1 << 63) - 1), FieldDescriptor.TYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}  # fmt: skip
_VALUE: Final = encode_varint(KeyValue.VALUE_FIELD_NUMBER << 3 | DELIMITED)
_TEXT: Final = encode_varint(AnyValue.STRING_VALUE_FIELD_NUMBER << 3 | DELIMITED)
_INT: Final = encode_varint(AnyValue.INT_VALUE_FIELD_NUMBER << 3 | VARINT)
_SIZES: Final = [bytes([size]) for size in range(128)]
_DOUBLE: Final = Struct("<d")


@dataclass(frozen=True, slots=True)
class _Member:
    """How one JSON key becomes one protobuf field."""

    tag: bytes
    type: int
    repeated: bool
    message: Descriptor | None
    enum: EnumDescriptor | None
    is_hex: bool
    is_pair: bool
    """An attribute, or another pair of key and value: most of every request."""


@cache
def _members(descriptor: Descriptor) -> dict[str, _Member]:
    """What becomes of each JSON key of a message."""
    return {
        field.json_name: _Member(
            encode_varint(field.number << 3 | _WIRE_TYPES.get(field.type, VARINT)),
            field.type,
            field.is_repeated,
            field.message_type,
            field.enum_type,
            field.name in _HEX_FIELDS,
            field.is_repeated and field.message_type is KeyValue.DESCRIPTOR,
        )
        for field in descriptor.fields
    }


def to_protobuf(body: bytes, signal: Signal) -> bytes:
    """Convert an OTLP/JSON request. Raises InvalidError that says where, TooLargeError for too many values."""
    _check_size(body)
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidError(
            f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno} (byte {error.pos})"
        ) from error
    if not isinstance(tree, dict):
        raise InvalidError(f"malformed OTLP/JSON: an object with {signal.json_key!r} is expected")
    try:
        return _encoded(_members(signal.request.DESCRIPTOR), tree, 0)
    except _BadValueError as error:
        raise InvalidError(f"malformed OTLP/JSON at {error.path}: {error.problem}") from error


def from_protobuf(message: Message) -> bytes:
    """The JSON of a response (it has no ids and no bytes, so protobuf's plain mapping is OTLP's)."""
    partial: Any = getattr(message, "partial_success", None)
    if partial is None or not message.HasField("partial_success"):
        return b"{}"
    rejected = next((str(value) for field, value in partial.ListFields() if field.name.startswith("rejected")), None)
    name = next(field.json_name for field in partial.DESCRIPTOR.fields if field.name.startswith("rejected"))
    inner = {name: rejected} if rejected is not None else {}
    return orjson.dumps({"partialSuccess": inner | {"errorMessage": partial.error_message}})


def _check_size(body: bytes) -> None:
    def values(text: bytes) -> int:
        return text.count(b",") + text.count(b"{") + text.count(b"[")

    if values(body) > MAX_VALUES and values(_STRINGS.sub(b'""', body)) > MAX_VALUES:
        raise TooLargeError(f"over {MAX_VALUES} JSON values in one request; send smaller batches, or protobuf")


class _BadValueError(Exception):
    """A value that does not fit; each level that it passes on its way up adds where it was."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self._way: list[str | int] = []

    def under(self, part: str | int) -> _BadValueError:
        self._way.append(part)
        return self

    @property
    def path(self) -> str:
        if self.problem == _TOO_DEEP:
            return "the top"
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in reversed(self._way))
        return text.lstrip(".")[:400] or "the top"


def _encoded(members: dict[str, _Member], tree: dict[str, Any], depth: int) -> bytes:
    """An object as a protobuf message without its length, fields in the order in which they are written."""
    if depth > MAX_DEPTH:
        raise _BadValueError(_TOO_DEEP)
    parts: list[bytes] = []
    for key, value in tree.items():
        member = members.get(key)
        if member is None or value is None:
            continue
        try:
            if member.is_pair and isinstance(value, list):
                for index, element in enumerate(value):
                    parts.append(_pair(member, element, index, depth + 1))
            elif not member.repeated:
                parts.append(_field(member, value, depth + 1))
            elif isinstance(value, list):
                for index, element in enumerate(value):
                    parts.append(_element(member, element, index, depth + 1))
            else:
                raise _BadValueError(f"a list is expected, not {_kind(value)}")
        except _BadValueError as error:
            raise error.under(key) from None
    return b"".join(parts)


def _pair(member: _Member, pair: Any, index: int, depth: int) -> bytes:
    """An attribute. Those with one text or one integer, nearly all, take the short way."""
    try:
        key, value = pair["key"], pair["value"]
        if len(pair) == 2 and len(value) == 1 and type(key) is str:
            ((kind, inner),) = value.items()
            if type(inner) is str:
                if kind == "stringValue":
                    text = inner.encode()
                    head = _TEXT + (_SIZES[len(text)] if len(text) < 128 else encode_varint(len(text)))
                    return member.tag + _sized(_key(key) + _sized(head + text))
                if kind == "intValue" and inner.isdecimal() and len(inner) < 18 and inner.isascii():
                    return member.tag + _sized(_key(key) + _sized(_INT + encode_varint(int(inner))))
    except (KeyError, TypeError, AttributeError):
        pass
    return _element(member, pair, index, depth)


@lru_cache(maxsize=4096)
def _key(key: str) -> bytes:
    """An attribute's key, and the tag of its value."""
    return KeyValue(key=key).SerializeToString() + _VALUE


def _element(member: _Member, value: Any, index: int, depth: int) -> bytes:
    try:
        return _field(member, value, depth)
    except _BadValueError as error:
        raise error.under(index) from None


def _field(member: _Member, value: Any, depth: int) -> bytes:
    """One value with its tag."""
    if member.message is None:
        return member.tag + _scalar(member, value)
    if not isinstance(value, dict):
        raise _BadValueError(f"an object is expected, not {_kind(value)}")
    return member.tag + _sized(_encoded(_members(member.message), value, depth))


def _scalar(member: _Member, value: Any) -> bytes:
    kind = member.type
    if kind == FieldDescriptor.TYPE_STRING:
        if isinstance(value, str):
            return _sized(value.encode())
        raise _BadValueError(f"a string is expected, not {_kind(value)}")
    if kind == FieldDescriptor.TYPE_BYTES:
        return _sized(_bytes(member, value))
    if kind == FieldDescriptor.TYPE_FIXED64:
        number = -1 if isinstance(value, float) and abs(value) >= 1e20 else _integer(value)
        return (number if 0 <= number <= _NOT_A_TIME else _NOT_A_TIME).to_bytes(8, "little")
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return _DOUBLE.pack(_float(value))
    if kind == FieldDescriptor.TYPE_BOOL:
        if isinstance(value, bool):
            return b"\1" if value else b"\0"
        raise _BadValueError(f"true or false is expected, not {_kind(value)}")
    number = _enum(member, value) if kind == FieldDescriptor.TYPE_ENUM else _integer(value)
    low, high = _RANGES[kind]
    if not low <= number <= high:
        raise _BadValueError(f"out of range: {str(number)[:40]}")
    if kind == FieldDescriptor.TYPE_FIXED32:
        return number.to_bytes(4, "little")
    if kind == FieldDescriptor.TYPE_SFIXED64:
        return number.to_bytes(8, "little", signed=True)
    if kind == FieldDescriptor.TYPE_SINT32:
        return encode_varint(number << 1 if number >= 0 else ~(number << 1))
    return encode_varint(number & _NOT_A_TIME)


def _sized(body: bytes) -> bytes:
    size = len(body)
    return (_SIZES[size] if size < 128 else encode_varint(size)) + body


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e20:
        return int(value)
    if isinstance(value, str) and _INTEGER.match(value):
        return int(value.partition(".")[0])
    raise _BadValueError(f"an integer is expected, not {_kind(value)}")


def _float(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.replace("Infinity", "inf"))
        except ValueError:
            pass
    raise _BadValueError(f"a number is expected, not {_kind(value)}")


def _enum(member: _Member, value: Any) -> int:
    if isinstance(value, str) and member.enum is not None and value in member.enum.values_by_name:
        number: int = member.enum.values_by_name[value].number
        return number
    return _integer(value)


def _bytes(member: _Member, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _BadValueError(f"a string is expected, not {_kind(value)}")
    if member.is_hex:
        try:
            return bytes.fromhex(value)
        except ValueError:
            return _NOT_AN_ID
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _BadValueError("base64 is expected") from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
