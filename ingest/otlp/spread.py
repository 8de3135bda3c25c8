"""A request as several, one for each partition of the topic: all spans of a trace go to the same partition.

Read from the wire: items keep their bytes, and resource and scope are repeated in each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dimwatch.eventlog.partitioning import partitions_of_traces
from ingest.otlp.admission import Piece
from ingest.otlp.framing import delimited, read_varint
from ingest.otlp.outline import PIECE_BYTES, Parts, joined, split_level
from ingest.otlp.signals import LOGS, TRACES, Signal

_TRACE_ID: Final = {TRACES: 1, LOGS: 9}
"""The field of an item that holds its trace id."""
_ID_BYTES: Final = 16
_ID_AT: Final = np.arange(2, 2 + _ID_BYTES)
_CHILD: Final = 0x12

Offsets = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint8]
"""Trace ids, one row each."""


def spread(pieces: Iterable[Piece], signal: Signal, partitions: int) -> list[Piece]:
    """What `pieces` hold, in requests of about `PIECE_BYTES` that are each of one partition.

    Log records without a trace go with the first trace of their piece. A piece without any trace stays as it is.
    """
    if partitions == 1 or signal not in _TRACE_ID:
        return list(pieces)
    found: list[Piece] = []
    gathered: dict[int, tuple[bytes, Parts]] = {}
    sizes: dict[int, int] = {}
    for piece in pieces:
        of_piece = list(_parts(piece.body, _TRACE_ID[signal], partitions))
        if not of_piece:
            found.append(piece)
        for partition, key, parts in of_piece:
            size = sum(map(len, parts))
            if sizes.get(partition, 0) + size > PIECE_BYTES and partition in gathered:
                found.append(_joined(partition, *gathered.pop(partition)))
                sizes[partition] = 0
            # Requests one behind the other are one request, as protobuf merges.
            gathered.setdefault(partition, (key, []))[1].extend(parts)
            sizes[partition] = sizes.get(partition, 0) + size
    return found + [_joined(partition, *parts) for partition, parts in sorted(gathered.items())]


def _joined(partition: int, key: bytes, parts: Parts) -> Piece:
    return Piece(parts[0] if len(parts) == 1 and isinstance(parts[0], bytes) else b"".join(parts), key, partition)


class _Scope(NamedTuple):
    """A scope that has items, and the numbers of the first and of the one after the last in the whole request."""

    resource: bytes
    scope: bytes
    first: int
    last: int


class _Items(NamedTuple):
    """Of each item: where it starts with its tag, where its payload does, and where it ends."""

    starts: list[int]
    payloads: list[int]
    ends: list[int]


def _parts(body: bytes, field: int, partitions: int) -> Iterator[tuple[int, bytes, Parts]]:
    """Partition, key and bytes of each part; nothing where no item is of a trace."""
    scopes: list[_Scope] = []
    items = _Items([], [], [])
    for number, _, low, high in delimited(body, 0, len(body)):
        if number != 1:
            continue
        resource, ranges = split_level(body, low, high)
        for scope_low, scope_high in ranges:
            first = len(items.starts)
            rest = _read(body, scope_low, scope_high, items)
            if len(items.starts) > first:
                scopes.append(_Scope(resource, rest, first, len(items.starts)))
    starts, payloads, ends = (np.array(where, np.int64) for where in items)
    rows = _trace_ids(body, payloads, ends, field)
    with_id = rows.any(axis=1)
    if not with_id.any():
        return
    of = partitions_of_traces(rows, partitions)
    of[~with_id] = of[with_id][0]
    scope_of = np.repeat(np.arange(len(scopes)), [scope.last - scope.first for scope in scopes])
    for partition in np.unique(of).tolist():
        mine = of == partition
        key = rows[np.flatnonzero(mine & with_id)[0]].tobytes().hex().encode()
        if mine.all():
            yield partition, key, [body]
            return
        parts: Parts = []
        for scope in (scopes[number] for number in np.unique(scope_of[mine]).tolist()):
            own = slice(scope.first, scope.last)
            chosen = mine[own]
            parts += joined(scope.resource, scope.scope, _runs(body, starts[own][chosen], ends[own][chosen]))
        yield partition, key, parts


def _runs(body: bytes, starts: Offsets, ends: Offsets) -> Parts:
    """The bytes of these items; neighbours are one slice."""
    view = memoryview(body)
    apart = np.flatnonzero(starts[1:] != ends[:-1])
    lows, highs = starts[np.append(0, apart + 1)], ends[np.append(apart, len(ends) - 1)]
    return [view[low:high] for low, high in zip(lows.tolist(), highs.tolist(), strict=True)]


def _read(body: bytes, at: int, end: int, items: _Items) -> bytes:
    """Add the items of a scope; return its other fields.

    The framing was checked before; this is the one loop over all spans, so that it is written out for speed.
    """
    rest: list[bytes] = []
    starts, payloads, ends = items
    while at < end:
        if body[at] != _CHILD:
            for number, _, low, high in delimited(body, at, end):
                if number == 2:  # an item whose tag is written in an unusual way, or after numbers
                    starts.append(at)
                    payloads.append(low)
                    ends.append(high)
                else:
                    rest.append(body[at:high])
                at = high
                break
            else:
                rest.append(body[at:end])
                break
            continue
        starts.append(at)
        size = body[at + 1]
        at += 2
        if size > 127:
            if body[at] < 128:  # the size has two bytes, as nearly all have
                size += (body[at] << 7) - 128
                at += 1
            else:
                size, at = read_varint(body, at - 1, end)
        payloads.append(at)
        at += size
        ends.append(at)
    return b"".join(rest)


def _trace_ids(body: bytes, payloads: Offsets, ends: Offsets, field: int) -> Ids:
    """The trace id of each item, zeros where there is none. At once where it is the first field, as in all spans."""
    found = np.zeros((len(payloads), _ID_BYTES), np.uint8)
    wire = np.frombuffer(body, np.uint8)
    first = ends - payloads >= 2 + _ID_BYTES
    heads = payloads[first]
    first[first] = (wire[heads] == field << 3 | 2) & (wire[heads + 1] == _ID_BYTES)
    found[first] = wire[payloads[first, None] + _ID_AT]
    for number in np.flatnonzero(~first).tolist():
        for name, _, low, high in delimited(body, int(payloads[number]), int(ends[number])):
            if name == field and high - low == _ID_BYTES:
                found[number] = wire[low:high]
    return found
