"""The outline of a request, read from the wire: where its items are, and how to cut it into smaller requests.

Traces, logs and metrics share their outer levels: request (field 1) > resource (2) > scope (2) > item.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dimwatch.errors import InvalidError
from ingest.otlp.framing import VARINT, Items, Shape, delimited, encode_varint, read_varint
from ingest.otlp.refusals import TooLargeError

PIECE_BYTES: Final = 1 << 20
"""A request above this is cut into pieces, so that what is parsed at once, and stored as one record, is bounded."""

MAX_MESSAGES: Final = 500_000
"""Most nested messages in one piece that is larger than that because a single item is."""

_MAX_FIELDS: Final = 1_200_000
_FIELDS_PER_ITEM: Final = 8
_TAG_REQUEST: Final = b"\x0a"
_TAG_CHILD: Final = b"\x12"
_CHILD: Final = 0x12


class Scope(NamedTuple):
    """A scope that has items: where it and its resource lie, and the numbers of its first item and of the one after
    its last."""

    resource_low: int
    resource_high: int
    low: int
    high: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What a request holds."""

    items: Items = field(default_factory=Items)
    scopes: list[Scope] = field(default_factory=list)

    @property
    def largest(self) -> int:
        """Bytes of the largest item."""
        return max(map(operator.sub, self.items.ends, self.items.payloads), default=0)


def outline(body: bytes, max_items: int, what: str) -> Outline:
    """Find the items without parsing. Raises TooLargeError above `max_items`, InvalidError for broken framing."""
    budget = max_items * _FIELDS_PER_ITEM + 1024
    found = Outline()
    steps = 0
    for resource, _, low, high in delimited(body, 0, len(body)):
        steps += 1
        if resource == 1:
            for scope, _, scope_low, scope_high in delimited(body, low, high):
                steps += 1
                if scope == 2:
                    first = len(found.items)
                    steps += _find_items(body, scope_low, scope_high, max_items, found.items)
                    if len(found.items) > first:
                        found.scopes.append(Scope(low, high, scope_low, scope_high, first, len(found.items)))
                if len(found.items) > max_items or steps > budget:
                    break
        if len(found.items) > max_items or steps > budget:
            raise TooLargeError(
                f"more than {max_items} {what}s in one request (receiver.max_spans); send smaller batches"
            )
    return found


def _find_items(body: bytes, at: int, end: int, most: int, found: Items) -> int:
    """Add the items of one scope; return the fields seen. The one loop over all spans: written out for speed."""
    starts, payloads, ends = found.starts, found.payloads, found.ends
    before, others = len(ends), 0
    stop_after = most * _FIELDS_PER_ITEM + 1024  # all that a request may have: where it stops, that is refused
    while at < end and len(ends) <= most:
        if body[at] != _CHILD:
            others += 1
            if others > stop_after:
                break
            for number, tag, low, high in delimited(body, at, end):
                if number == 2:  # an item whose tag is written in an unusual way, or after numbers
                    starts.append(tag)
                    payloads.append(low)
                    ends.append(high)
                at = high
                break
            else:
                break
            continue
        starts.append(at)
        if at + 3 < end and body[at + 2] < 128:  # the size has two bytes at most
            size = body[at + 1]
            if size < 128:
                at += 2
            else:
                size += (body[at + 2] << 7) - 128
                at += 3
        else:
            size, at = read_varint(body, at + 1, end)
        payloads.append(at)
        at += size
        if at > end:
            raise InvalidError(f"malformed protobuf: an item runs over its scope, which ends at byte {end}")
        ends.append(at)
    return len(ends) - before + others


@dataclass(frozen=True, slots=True)
class AttributeCut:
    """Which attributes of a very large item are cut already here, so that they are never parsed."""

    field: int
    count_field: int
    """Where the item says how many were cut."""
    most: int
    on_cut: Callable[[int], None]


def pieces(body: bytes, shape: Shape, cut: AttributeCut | None) -> Iterator[bytes]:
    """Cut a large request into requests of about `PIECE_BYTES`, which together say the same.

    Raises TooLargeError for a piece with more than `MAX_MESSAGES` nested messages.
    """
    batch: list[Parts] = []
    held = 0
    for fragment in _fragments(body, cut):
        size = _size(fragment)
        if batch and held + size > PIECE_BYTES:
            yield _checked(batch, shape)
            batch, held = [], 0
        batch.append(fragment)  # requests one behind the other are one request, as protobuf merges
        held += size
    if batch:
        yield _checked(batch, shape)


Parts = list[bytes | memoryview]
"""A message as parts that are joined once, so that a large one is not copied at every level."""


def _size(parts: Parts) -> int:
    return sum(map(len, parts))


def _fragments(body: bytes, cut: AttributeCut | None) -> Iterator[Parts]:
    """Requests that hold one resource each, cut between items where they would be larger than a piece.

    Resource and scope are repeated in each; where they are large, fragments grow with them.
    """
    view = memoryview(body)
    for number, tag, low, high in delimited(body, 0, len(body)):
        if number != 1 or high - tag <= PIECE_BYTES:
            yield [view[tag:high]]
            continue
        resource, scopes = split_level(body, low, high)
        if not scopes:
            yield [view[tag:high]]
        for scope_low, scope_high in scopes:
            scope, items = split_level(body, scope_low, scope_high)
            room = max(PIECE_BYTES, 4 * (len(resource) + len(scope)))
            batch: Parts = []
            held = 0
            for item_low, item_high in items:
                size = item_high - item_low
                item: Parts = [view[item_low:item_high]]
                if cut is not None and size > PIECE_BYTES:
                    item = _without_surplus(body, item_low, item_high, cut)
                    size = _size(item)
                if batch and held + size > room:
                    yield joined(resource, scope, batch)
                    batch, held = [], 0
                batch += [_TAG_CHILD + encode_varint(size), *item]
                held += size
            yield joined(resource, scope, batch)


def split_level(body: bytes, low: int, high: int) -> tuple[bytes, list[tuple[int, int]]]:
    """The fields of a level other than its children (field 2), as they are, and where the children lie."""
    rest: list[bytes] = []
    children: list[tuple[int, int]] = []
    kept_from = low
    for number, tag, start, end in delimited(body, low, high):
        if number == 2:
            if tag > kept_from:
                rest.append(body[kept_from:tag])
            children.append((start, end))
            kept_from = end
    rest.append(body[kept_from:high])
    return b"".join(rest), children


def _without_surplus(body: bytes, low: int, high: int, cut: AttributeCut) -> Parts:
    """An item without the attributes that are too many, and with a note of how many those were."""
    view = memoryview(body)
    kept: Parts = []
    kept_from, seen = low, 0
    for steps, (number, tag, _, end) in enumerate(delimited(body, low, high)):
        if number == cut.field:
            seen += 1
            if seen > cut.most:
                if tag > kept_from:
                    kept.append(view[kept_from:tag])
                kept_from = end
        if steps > _MAX_FIELDS:
            raise TooLargeError(f"one span or log record holds over {_MAX_FIELDS} attributes, events and links")
    kept.append(view[kept_from:high])
    surplus = seen - cut.most
    if surplus > 0:
        cut.on_cut(surplus)
        kept.append(encode_varint(cut.count_field << 3 | VARINT) + encode_varint(surplus))
    return kept


def joined(resource: bytes, scope: bytes, items: Parts) -> Parts:
    """A request of one resource and one scope. `items` are with their tags."""
    inner = len(scope) + _size(items)
    scope_head = _TAG_CHILD + encode_varint(inner)
    outer = len(resource) + len(scope_head) + inner
    return [_TAG_REQUEST + encode_varint(outer), resource, scope_head, scope, *items]


def _checked(fragments: list[Parts], shape: Shape) -> bytes:
    piece = b"".join(part for fragment in fragments for part in fragment)
    if len(piece) > 2 * PIECE_BYTES and _messages(piece, 0, len(piece), shape, 0) > MAX_MESSAGES:
        raise TooLargeError(f"one span, log record or metric holds over {MAX_MESSAGES} nested values")
    return piece


def _messages(body: bytes, start: int, end: int, shape: Shape, depth: int) -> int:
    """How many messages are nested in `body[start:end]`; stops counting once there are too many."""
    if depth > 100:
        raise InvalidError("malformed protobuf: nested too deeply")
    count = 0
    for steps, (number, _, low, high) in enumerate(delimited(body, start, end)):
        child = shape.messages.get(number)
        if child is not None:
            count += 1 + (_messages(body, low, high, child, depth + 1) if high > low else 0)
        if count > MAX_MESSAGES or steps > 2 * MAX_MESSAGES:
            return MAX_MESSAGES + 1
    return count
