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
from functools import cache
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from dimwatch.errors import InvalidError
from ingest.otlp.framing import MAX_DEPTH
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import Signal

MAX_VALUES: Final = 2_000_000
"""Most JSON values in one request: Python objects are far larger than the text they come from."""

_HEX_FIELDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
_INTEGER: Final = re.compile(r"\A-?[0-9]{1,40}(?:\.0+)?\Z")
_NOT_AN_ID: Final = b"\x00"
_NOT_A_TIME: Final = (1 << 64) - 1
_INT_TYPES: Final = frozenset({
    FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_FIXED32,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Member:
    """How one JSON key becomes one protobuf field."""

    name: str
    type: int
    repeated: bool
    message: Descriptor | None
    enum: EnumDescriptor | None
    is_hex: bool


@cache
def _members(descriptor: Descriptor) -> dict[str, _Member]:
    return {
        field.json_name: _Member(
            field.name,
            field.type,
            field.is_repeated,
            field.message_type,
            field.enum_type,
            field.name in _HEX_FIELDS,
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
    request = signal.request()
    try:
        _fill(request, tree, (), 0)
    except _BadValueError as error:
        raise InvalidError(f"malformed OTLP/JSON at {error.path}: {error.problem}") from error
    return request.SerializeToString()


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
    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        self.path = text.lstrip(".")[:400] or "the top"
        self.problem = problem


def _fill(message: Any, tree: dict[str, Any], path: tuple[str | int, ...], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _BadValueError((), "nested too deeply")
    members = _members(message.DESCRIPTOR)
    for key, value in tree.items():
        member = members.get(key)
        if member is None or value is None:
            continue
        here = (*path, key)
        if member.repeated:
            if not isinstance(value, list):
                raise _BadValueError(here, f"a list is expected, not {_kind(value)}")
            target = getattr(message, member.name)
            for index, element in enumerate(value):
                if member.message is None:
                    target.append(_scalar(member, element, (*here, index)))
                    continue
                if not isinstance(element, dict):
                    raise _BadValueError((*here, index), f"an object is expected, not {_kind(element)}")
                _fill(target.add(), element, (*here, index), depth + 1)
        elif member.message is not None:
            if not isinstance(value, dict):
                raise _BadValueError(here, f"an object is expected, not {_kind(value)}")
            child = getattr(message, member.name)
            child.SetInParent()
            _fill(child, value, here, depth + 1)
        else:
            try:
                setattr(message, member.name, _scalar(member, value, here))
            except ValueError as error:
                raise _BadValueError(here, f"out of range or not valid text: {error}"[:200]) from error


def _scalar(member: _Member, value: Any, path: tuple[str | int, ...]) -> Any:
    kind = member.type
    if kind == FieldDescriptor.TYPE_STRING:
        if isinstance(value, str):
            return value
        raise _BadValueError(path, f"a string is expected, not {_kind(value)}")
    if kind == FieldDescriptor.TYPE_FIXED64:
        number = -1 if isinstance(value, float) and abs(value) >= 1e20 else _integer(value, path)
        return number if 0 <= number <= _NOT_A_TIME else _NOT_A_TIME
    if kind in _INT_TYPES:
        return _integer(value, path)
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _float(value, path)
    if kind == FieldDescriptor.TYPE_BOOL:
        if isinstance(value, bool):
            return value
        raise _BadValueError(path, f"true or false is expected, not {_kind(value)}")
    if kind == FieldDescriptor.TYPE_ENUM:
        return _enum(member, value, path)
    return _bytes(member, value, path)


def _integer(value: Any, path: tuple[str | int, ...]) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e20:
        return int(value)
    if isinstance(value, str) and _INTEGER.match(value):
        return int(value.partition(".")[0])
    raise _BadValueError(path, f"an integer is expected, not {_kind(value)}")


def _float(value: Any, path: tuple[str | int, ...]) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.replace("Infinity", "inf"))
        except ValueError:
            pass
    raise _BadValueError(path, f"a number is expected, not {_kind(value)}")


def _enum(member: _Member, value: Any, path: tuple[str | int, ...]) -> int:
    if isinstance(value, str) and member.enum is not None and value in member.enum.values_by_name:
        number: int = member.enum.values_by_name[value].number
        return number
    return _integer(value, path)


def _bytes(member: _Member, value: Any, path: tuple[str | int, ...]) -> bytes:
    if not isinstance(value, str):
        raise _BadValueError(path, f"a string is expected, not {_kind(value)}")
    if member.is_hex:
        try:
            return bytes.fromhex(value)
        except ValueError:
            return _NOT_AN_ID
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _BadValueError(path, "base64 is expected") from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
