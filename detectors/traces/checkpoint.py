"""What an assembler needs to go on after a restart, and its wire form.

The eventlog is read again from the checkpoint's offsets. Traces that began after them come again by themselves.
What does not: traces that have been open since before them (as they were then, with their rows), and the knowledge
which traces were judged and until when (their records must not look like a new trace).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson
import pyarrow as pa

from dimwatch.errors import InvalidError
from dimwatch.records import IPC_OPTIONS

_VERSION: Final = 2

OPEN: Final = pa.schema(
    [
        ("trace_id", pa.string()),
        ("last_ns", pa.int64()),  # when it was last heard of
        ("due_ns", pa.int64()),  # when it is over, if nothing else comes
        ("wait_ns", pa.int64()),  # how long its last span waits for more
        ("rooted", pa.bool_()),
        ("service", pa.string()),
    ]
)
JUDGED: Final = pa.schema(
    [
        ("trace_id", pa.string()),
        ("until_ns", pa.int64()),  # what came until then was judged, what came after that is late
        ("last_ns", pa.int64()),
        ("rooted", pa.bool_()),
        ("spans", pa.int64()),
        ("ids", pa.binary()),  # of the spans
    ]
)


@dataclass(slots=True)
class AssemblerState:
    """The state before a record."""

    open: pa.Table = field(default_factory=OPEN.empty_table)
    judged: pa.Table = field(default_factory=JUDGED.empty_table)
    """Earlier parts of open traces too."""
    learned: dict[str, tuple[float, float]] = field(default_factory=dict)
    spans: Iterable[pa.Table] = ()
    """Rows of open traces."""
    content: Iterable[pa.Table] = ()


def encode(state: AssemblerState, read_until: dict[str, int], watermark_ns: int = 0) -> bytes:
    """Serialise. `read_until`: by topic, the next offset when the state was taken. `watermark_ns`: the record time up
    to which everything that was over had been judged by then, 0 where that is not known."""
    parts = [_stream([state.open]), _stream([state.judged]), _stream(state.spans), _stream(state.content)]
    head = orjson.dumps(
        {
            "version": _VERSION,
            "learned": state.learned,
            "lengths": [len(part) for part in parts],
            "read_until": read_until,
            "watermark_ns": watermark_ns,
        }
    )
    return b"".join([len(head).to_bytes(8, "big"), head, *(memoryview(part) for part in parts)])


def read(value: bytes) -> tuple[AssemblerState, dict[str, int], int]:
    """Undo `encode`. Raises InvalidError for anything else."""
    try:
        start = 8 + int.from_bytes(value[:8], "big")
        head = orjson.loads(value[8:start])
        if head["version"] != _VERSION:
            raise InvalidError(f"checkpoint of version {head['version']}, this program writes {_VERSION}")
        tables = []
        for length in head["lengths"]:
            tables.append(_table(value, start, length))
            start += length
        open_, judged, spans, content = tables
        state = AssemblerState(
            open_ or OPEN.empty_table(),
            judged or JUDGED.empty_table(),
            {service: (level, rootless) for service, (level, rootless) in head["learned"].items()},
            [spans] if spans else [],
            [content] if content else [],
        )
        return state, head["read_until"], head.get("watermark_ns", 0)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OSError) as error:
        raise InvalidError(f"unreadable checkpoint: {error}") from error


def _stream(tables: Iterable[pa.Table]) -> pa.Buffer:
    """Tables of one schema as an Arrow IPC stream, one after the other; nothing for no table."""
    sink = pa.BufferOutputStream()
    writer = None
    for table in tables:
        writer = writer or pa.ipc.new_stream(sink, table.schema, options=IPC_OPTIONS)
        writer.write(table)
    if writer is not None:
        writer.close()
    return sink.getvalue()


def _table(value: bytes, start: int, length: int) -> pa.Table | None:
    if not length:
        return None
    with pa.ipc.open_stream(pa.py_buffer(memoryview(value)[start : start + length])) as reader:
        return reader.read_all()
