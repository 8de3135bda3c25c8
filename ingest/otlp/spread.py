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
_NO_ID: Final = bytes(_ID_BYTES)
_CHILD: Final = 0x12


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
    """The items of one scope: where each lies with its tag, and its number among all items of the request."""

    resource: bytes
    scope: bytes
    bounds: list[tuple[int, int]]
    first: int


def _parts(body: bytes, field: int, partitions: int) -> Iterator[tuple[int, bytes, Parts]]:
    """Partition, key and bytes of each part; nothing where no item is of a trace."""
    ids = bytearray()
    scopes: list[_Scope] = []
    for number, _, low, high in delimited(body, 0, len(body)):
        if number != 1:
            continue
        resource, ranges = split_level(body, low, high)
        for scope_low, scope_high in ranges:
            first = len(ids) // _ID_BYTES
            rest, bounds = _items(body, scope_low, scope_high, field, ids)
            scopes.append(_Scope(resource, rest, bounds, first))
    rows = np.frombuffer(ids, np.uint8).reshape(-1, _ID_BYTES)
    with_id = rows.any(axis=1)
    if not with_id.any():
        return
    of = partitions_of_traces(rows, partitions)
    of[~with_id] = of[with_id][0]
    for partition in np.unique(of).tolist():
        mine = of == partition
        key = rows[np.flatnonzero(mine & with_id)[0]].tobytes().hex().encode()
        if mine.all():
            yield partition, key, [body]
            return
        parts: Parts = []
        for scope in scopes:
            chosen = np.flatnonzero(mine[scope.first : scope.first + len(scope.bounds)])
            if len(chosen):
                parts += joined(scope.resource, scope.scope, _runs(body, scope.bounds, chosen))
        yield partition, key, parts


def _runs(body: bytes, bounds: list[tuple[int, int]], chosen: npt.NDArray[np.intp]) -> Parts:
    """The bytes of the chosen items; neighbours are one slice."""
    view = memoryview(body)
    parts: Parts = []
    start = end = -1
    for number in chosen.tolist():
        low, high = bounds[number]
        if low == end:
            end = high
            continue
        if end >= 0:
            parts.append(view[start:end])
        start, end = low, high
    parts.append(view[start:end])
    return parts


def _items(body: bytes, at: int, end: int, field: int, ids: bytearray) -> tuple[bytes, list[tuple[int, int]]]:
    """The scope's other fields, and where its items lie; their trace ids are put behind `ids`.

    The framing was checked before; this is the one loop over all spans, so that it is written out for speed.
    """
    rest: list[bytes] = []
    bounds: list[tuple[int, int]] = []
    while at < end:
        tag_at = at
        if body[at] != _CHILD:
            for number, _, low, high in delimited(body, at, end):
                if number == 2:  # an item whose tag is written in an unusual way, or after numbers
                    bounds.append((at, high))
                    ids += _trace_id(body, low, high, field)
                else:
                    rest.append(body[at:high])
                at = high
                break
            else:
                rest.append(body[at:end])
                break
            continue
        size = body[at + 1]
        at += 2
        if size > 127:
            size, at = read_varint(body, at - 1, end)
        stop = at + size
        if field == 1 and size > _ID_BYTES + 1 and body[at] == 0x0A and body[at + 1] == _ID_BYTES:
            ids += body[at + 2 : at + 2 + _ID_BYTES]
        else:
            ids += _trace_id(body, at, stop, field)
        bounds.append((tag_at, stop))
        at = stop
    return b"".join(rest), bounds


def _trace_id(body: bytes, low: int, high: int, field: int) -> bytes:
    found = _NO_ID
    for number, _, start, stop in delimited(body, low, high):
        if number == field and stop - start == _ID_BYTES:
            found = body[start:stop]
    return found
