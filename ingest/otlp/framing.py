"""Protobuf at the wire level: where things lie in a request, without parsing it into objects.

Counting and finding here costs no memory, so it is done before a request is trusted enough to be parsed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from dimwatch.errors import InvalidError

Buffer = bytes | bytearray

VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)

MAX_DEPTH = 100
"""The nesting at which protobuf itself gives up."""

MAX_SCALARS = 100_000
"""Most numbers in a row in one message; more is an attempt to keep the reader busy."""


Field = tuple[int, int, int, int]
"""A length-delimited field: its number, where its tag starts, and where its payload starts and ends."""


def encode_varint(value: int) -> bytes:
    """The protobuf varint of a non-negative integer."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(body: Buffer, at: int, end: int) -> tuple[int, int]:
    """Return the varint at `at` and the position behind it. Raises InvalidError when it is cut or too long."""
    value = shift = 0
    for position in range(at, min(end, at + 10)):
        byte = body[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + 1
        shift += 7
    raise InvalidError(f"malformed protobuf: bad varint at byte {at}")


def delimited(body: Buffer, start: int, end: int) -> Iterator[Field]:
    """The length-delimited fields of the message in `body[start:end]`; the others are stepped over."""
    at = start
    scalars = 0
    while at < end:
        tag_at = at
        tag = body[at]
        at += 1
        if tag > 127:
            tag, at = read_varint(body, tag_at, end)
        kind = tag & 7
        if kind == DELIMITED:
            if at < end and body[at] < 128:
                size = body[at]
                at += 1
            else:
                size, at = read_varint(body, at, end)
            stop = at + size
            if stop > end:
                raise InvalidError(f"malformed protobuf: field at byte {tag_at} runs over its message")
            yield tag >> 3, tag_at, at, stop
            at = stop
            scalars = 0
            continue
        scalars += 1
        if scalars > MAX_SCALARS:
            raise InvalidError(f"malformed protobuf: over {MAX_SCALARS} scalar fields in a row at byte {tag_at}")
        if kind == VARINT:
            _, at = read_varint(body, at, end)
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        elif kind > FIXED32:
            raise InvalidError(f"malformed protobuf: wire type {kind} at byte {tag_at}")
    if at > end:
        raise InvalidError(f"malformed protobuf: the message ends in the middle of a field at byte {end}")


MAX_STEPS = 1_000_000
"""Most fields that are stepped over to find text: half a second."""

_ITEM_DEPTH = 3
"""Request, resource, scope, item."""


@dataclass(slots=True)
class Shape:
    """What a message holds, as far as finding text in it goes."""

    name: str
    messages: dict[int, Shape] = field(default_factory=dict)
    opaque: frozenset[int] = frozenset()
    """Binary fields (ids) that are never text."""


def shape_of(descriptor: Any, known: dict[str, Shape] | None = None) -> Shape:
    """The shape of a message type, nested types included; recursive types share one shape."""
    known = {} if known is None else known
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    shape = known[descriptor.full_name] = Shape(descriptor.full_name)
    opaque = set()
    for member in descriptor.fields:
        if member.type == FieldDescriptor.TYPE_MESSAGE:
            shape.messages[member.number] = shape_of(member.message_type, known)
        elif member.type == FieldDescriptor.TYPE_BYTES and member.name != "bytes_value":
            opaque.add(member.number)
    shape.opaque = frozenset(opaque)
    return shape


class Text(NamedTuple):
    """One piece of text in a request: where it lies, and the key-value pair it is in, if it is in one."""

    start: int
    end: int
    pair: tuple[int, int] | None
    is_key: bool


@dataclass(frozen=True, slots=True)
class Items:
    """Where the items of a request lie, ascending: where the tag of each starts, its content does, and it ends."""

    starts: list[int] = field(default_factory=list)
    payloads: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ends)


def find_text(body: Buffer, shape: Shape, positions: Sequence[int], items: Items | None = None) -> Mapping[int, Text]:
    """Which text each of the ascending `positions` lies in; a position outside of any text is left out.

    Fields that the schema does not know count as text. With `items`, only those that a position lies in are looked
    at. Raises InvalidError where the framing is broken.
    """
    found: dict[int, Text] = {}
    steps = 0

    def descend(start: int, end: int, shape: Shape, first: int, last: int, depth: int) -> None:
        """Look at positions[first:last], all of which lie in body[start:end]."""
        nonlocal steps
        pair = (start, end) if shape.name.endswith(".KeyValue") else None
        for number, _, low, high in delimited(body, start, end):
            steps += 1
            if steps > MAX_STEPS:
                raise InvalidError(f"over {MAX_STEPS} fields around possible secrets in one request")
            while first < last and positions[first] < low:
                first += 1
            if first == last:
                return
            if positions[first] >= high:
                continue
            stop = bisect_left(positions, high, first, last)
            child = shape.messages.get(number)
            if child is not None and depth < MAX_DEPTH:
                descend(low, high, child, first, stop, depth + 1)
            elif number not in shape.opaque:
                text = Text(low, high, pair, pair is not None and number == 1)
                for position in positions[first:stop]:
                    found[position] = text
            first = stop

    if items is None:
        descend(0, len(body), shape, 0, len(positions), 0)
        return found
    item = shape.messages[1].messages[2].messages[2]
    others: list[int] = []
    first = 0
    while first < len(positions):
        number = bisect_right(items.ends, positions[first])
        low = items.starts[number] if number < len(items) else len(body)
        if positions[first] < low:
            stop = bisect_left(positions, low, first)
            others += positions[first:stop]
        else:
            stop = bisect_left(positions, items.ends[number], first)
            descend(items.payloads[number], items.ends[number], item, first, stop, _ITEM_DEPTH)
        first = stop
    if others:
        found.update(find_text(body, shape, others))
    return found


def value_texts(body: Buffer, start: int, end: int, shape: Shape, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Where the texts of a message lie, without the keys of pairs. Raises InvalidError for broken framing."""
    is_pair = shape.name.endswith(".KeyValue")
    for number, _, low, high in delimited(body, start, end):
        child = shape.messages.get(number)
        if child is not None and depth < MAX_DEPTH:
            yield from value_texts(body, low, high, child, depth + 1)
        elif number not in shape.opaque and not (is_pair and number == 1):
            yield low, high
