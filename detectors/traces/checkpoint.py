"""What an assembler needs to go on after a restart, and its wire form.

The eventlog is read again from the checkpoint's offsets. Traces that began after them come again by themselves.
What does not: traces that have been open since before them (their rows are in the checkpoint), and the knowledge
that a trace with records on both sides of them was already judged (its records must not look like a new trace).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson
import pyarrow as pa

from dimwatch.errors import InvalidError
from dimwatch.records import SPAN, decode
from dimwatch.records import encode as encode_table

_VERSION: Final = 1


@dataclass(slots=True)
class OpenTrace:
    """An open trace: when it was last heard of, when it is over, and whether its root is there."""

    trace_id: str
    last_ns: int
    due_ns: int
    rooted: bool
    late: bool


@dataclass(slots=True)
class AssemblerState:
    """Open traces that are older than the offsets, their rows, and judged traces that reach across them."""

    open: list[OpenTrace] = field(default_factory=list)
    spans: pa.Table = field(default_factory=SPAN.empty_table)
    content: pa.Table | None = None
    judged: list[str] = field(default_factory=list)
    learned: dict[str, tuple[float, float]] = field(default_factory=dict)


def encode(state: AssemblerState, read_until: dict[str, int]) -> bytes:
    """Serialise. `read_until`: by topic, the next offset when the state was taken."""
    spans = encode_table(state.spans)
    content = b"" if state.content is None else encode_table(state.content)
    head = orjson.dumps(
        {
            "version": _VERSION,
            "open": [[trace.trace_id, trace.last_ns, trace.due_ns, trace.rooted, trace.late] for trace in state.open],
            "judged": state.judged,
            "learned": state.learned,
            "lengths": [len(spans), len(content)],
            "read_until": read_until,
        }
    )
    return len(head).to_bytes(8, "big") + head + spans + content


def read(value: bytes) -> tuple[AssemblerState, dict[str, int]]:
    """Undo `encode`. Raises InvalidError for anything else."""
    try:
        start = 8 + int.from_bytes(value[:8], "big")
        head = orjson.loads(value[8:start])
        if head["version"] != _VERSION:
            raise InvalidError(f"checkpoint of version {head['version']}, this program writes {_VERSION}")
        spans, content = head["lengths"]
        return AssemblerState(
            open=[OpenTrace(*trace) for trace in head["open"]],
            spans=decode(value[start : start + spans]),
            content=decode(value[start + spans : start + spans + content]) if content else None,
            judged=head["judged"],
            learned={service: (gap, rootless) for service, (gap, rootless) in head["learned"].items()},
        ), head["read_until"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"unreadable checkpoint: {error}") from error
