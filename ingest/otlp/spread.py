"""A request as several, one for each partition of the topic: all spans of a trace go to the same partition.

Read from the wire: items keep their bytes, and resource and scope are repeated in each request.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from dimwatch.eventlog.partitioning import partition_of, partitions_of_traces
from ingest.otlp.admission import Piece
from ingest.otlp.framing import Items, delimited
from ingest.otlp.outline import PIECE_BYTES, Outline, Parts, Scope, joined, outline, split_level
from ingest.otlp.signals import LOGS, TRACES, Signal

_TRACE_ID: Final = {TRACES: 1, LOGS: 9}
"""The field of an item that holds its trace id."""
_ID_BYTES: Final = 16
_HEAD_BYTES: Final = 2 + _ID_BYTES
_FEW: Final = 24
"""Up to so many traces are faster one by one."""


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
        sketch = piece.outline or outline(piece.body, sys.maxsize, signal.item)
        of_piece = list(_parts(piece.body, sketch, _TRACE_ID[signal], partitions))
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


def _parts(body: bytes, sketch: Outline, field: int, partitions: int) -> Iterator[tuple[int, bytes, Parts]]:
    """Partition, key and bytes of each part; nothing where no item is of a trace."""
    traces = _trace_ids(body, sketch.items, field)
    known = [trace for trace in dict.fromkeys(traces) if trace]
    if not known:
        return
    of = dict(zip(known, _partitions(known, partitions), strict=True))
    keys: dict[int, bytes] = {}
    for trace, partition in of.items():
        keys.setdefault(partition, trace.hex().encode())
    if len(keys) == 1:
        yield next(iter(of.values())), keys.popitem()[1], [body]
        return
    of[b""] = of[known[0]]
    parts: dict[int, Parts] = {partition: [] for partition in keys}
    resource, resource_at = b"", -1
    for scope in sketch.scopes:
        if scope.resource_low != resource_at:
            resource, _ = split_level(body, scope.resource_low, scope.resource_high)
            resource_at = scope.resource_low
        rest, runs = _cut(body, scope, sketch.items, traces, of)
        for partition, mine in runs.items():
            parts[partition] += joined(resource, rest, mine)
    for partition in sorted(parts):
        yield partition, keys[partition], parts[partition]


def _trace_ids(body: bytes, items: Items, field: int) -> list[bytes]:
    """The trace id of each item, empty where there is none. At once where it is the first field, as in all spans."""
    prefix = bytes((field << 3 | 2, _ID_BYTES))
    bounds = zip(items.payloads, items.ends, strict=True)
    heads = [body[low : low + _HEAD_BYTES] if high - low >= _HEAD_BYTES else b"" for low, high in bounds]
    different = set(heads)
    ids = {head: head[2:] if any(head[2:]) else b"" for head in different if head[:2] == prefix}
    if len(ids) == len(different):
        return list(map(ids.__getitem__, heads))
    return [
        ids.get(head) or _trace_id(body, low, high, field)
        for head, low, high in zip(heads, items.payloads, items.ends, strict=True)
    ]


def _trace_id(body: bytes, low: int, high: int, field: int) -> bytes:
    found = b""
    for name, _, start, end in delimited(body, low, high):
        if name == field and end - start == _ID_BYTES:
            found = body[start:end]
    return found if any(found) else b""


def _partitions(traces: Sequence[bytes], partitions: int) -> list[int]:
    if len(traces) <= _FEW:
        return [partition_of(trace.hex().encode(), partitions) for trace in traces]
    rows = np.frombuffer(b"".join(traces), np.uint8).reshape(-1, _ID_BYTES)
    found: list[int] = partitions_of_traces(rows, partitions).tolist()
    return found


def _cut(
    body: bytes, scope: Scope, items: Items, traces: Sequence[bytes], of: Mapping[bytes, int]
) -> tuple[bytes, Mapping[int, Parts]]:
    """The fields of a scope other than its items, and its items by partition; neighbours are one slice."""
    view = memoryview(body)
    own = slice(scope.first, scope.last)
    rest: list[bytes] = []
    runs: dict[int, Parts] = {}
    current, low, high = -1, scope.low, scope.low
    for start, end, trace in zip(items.starts[own], items.ends[own], traces[own], strict=True):
        partition = of[trace]
        if partition != current or start != high:
            if current >= 0:
                runs.setdefault(current, []).append(view[low:high])
            if start != high:
                rest.append(body[high:start])
            current, low = partition, start
        high = end
    runs.setdefault(current, []).append(view[low:high])
    rest.append(body[high : scope.high])
    return b"".join(rest), runs
