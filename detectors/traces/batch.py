"""A batch of whole traces as columns: the tree, the times, and what is asked of them most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch.records import SPAN_KINDS

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NONE: Final = -1
_HEX: Final = np.full(256, 0, dtype=np.uint64)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _HEX[_digit] = _value


def id_numbers(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """Span ids (16 hex digits, or "") as numbers; "" is 0, which is no valid id."""
    numbers = np.zeros(len(ids), dtype=np.uint64)
    valid = pc.equal(pc.binary_length(ids), 16).to_numpy(zero_copy_only=False)
    kept = ids.filter(pa.array(valid))
    if not len(kept):
        return numbers
    start = np.frombuffer(kept.buffers()[1], dtype=np.int32)[kept.offset]
    digits = np.frombuffer(kept.buffers()[2], dtype=np.uint8)[start : start + 16 * len(kept)].reshape(-1, 16)
    number = np.zeros(len(kept), dtype=np.uint64)
    for position in range(16):
        number = (number << np.uint64(4)) | _HEX[digits[:, position]]
    numbers[valid] = number
    return numbers


class Nests(NamedTuple):
    """Model spans by nest."""

    rows: Rows
    """Every model span."""
    top: Rows
    """By each of them, the outermost span of its nest."""
    several: Mask
    """By each of them, whether its nest is around several calls, and so is no call itself."""


class TraceBatch:
    """Spans of whole traces, ordered by trace and start time, without doubles.

    `trace[i]` is the number of the trace that span row `i` belongs to; `parent[i]` the row of its parent, or NONE.
    Columns are gathered from the spans as they came only when somebody asks for them.
    """

    def __init__(self, spans: pa.Table, rows: Rows, trace: Rows, late: Mask, forced: Mask) -> None:
        """`rows` are the rows of `spans` that belong here, and `trace` their trace numbers."""
        self._source = spans
        self._gathered: dict[str, pa.Array] = {}
        self._replaced: set[str] = set()
        self._derived: dict[tuple[str, str | None], Mask] = {}
        self._encoded: dict[str, tuple[Rows, pa.Array]] = {}
        self._of_kinds: dict[tuple[str, ...], Mask] = {}
        ids = id_numbers(self._chunk("span_id"))[rows]
        kept = _last_of_doubles(trace, ids)
        if kept is not None:
            rows, trace, ids = rows[kept], trace[kept], ids[kept]
        start = self._chunk("start_time").cast(pa.int64()).to_numpy()[rows]
        duration = self._chunk("duration_ns").to_numpy()[rows]
        # A parent that starts with its child comes first: longer first.
        order = np.lexsort((-duration, start, trace))
        self._rows = rows[order]
        self._ids = ids[order]
        self.trace: Rows = trace[order]
        self.start: Rows = start[order]
        self.end: Rows = self.start + duration[order]
        self.traces: int = len(late)
        self.late = late
        self.forced = forced
        self.first: Rows = np.searchsorted(self.trace, np.arange(self.traces + 1))
        parents = id_numbers(self._chunk("parent_span_id"))[self._rows]
        self.is_root: Mask = parents == 0
        self.parent: Rows = self._rows_of(self.trace, parents)
        kinds = pc.index_in(self._chunk("kind"), value_set=pa.array(SPAN_KINDS))
        self._kind: npt.NDArray[np.int32] = kinds.to_numpy(zero_copy_only=False)[self._rows]
        self.failed: Mask = self._failed()

    @property
    def span_numbers(self) -> npt.NDArray[np.uint64]:
        """Span ids as numbers, by row."""
        return self._ids

    def __len__(self) -> int:
        return len(self.trace)

    def column(self, name: str) -> pa.Array:
        """A span column as one Arrow array. To look at a few rows, `take` is cheaper."""
        if name not in self._gathered:
            self._gathered[name] = self._chunk(name).take(pa.array(self._rows))
        return self._gathered[name]

    def encoded(self, name: str) -> tuple[Rows, pa.Array]:
        """A string column as numbers by row (NONE for null), and the distinct values that they stand for."""
        if name not in self._encoded:
            gathered = self._gathered.get(name)
            strings = self._chunk(name) if gathered is None else gathered
            if all_the_same(strings):
                self._encoded[name] = np.zeros(len(self), dtype=np.int64), strings[:1]
            else:
                encoded = strings.dictionary_encode()
                codes: Rows = pc.fill_null(encoded.indices, NONE).to_numpy(zero_copy_only=False).astype(np.int64)
                self._encoded[name] = codes[self._rows] if gathered is None else codes, encoded.dictionary
        return self._encoded[name]

    def take(self, name: str, rows: Rows | Sequence[int] | pa.Array) -> pa.Array:
        """A span column at some rows; a null row gives null."""
        if name in self._gathered:
            return self._gathered[name].take(rows if isinstance(rows, pa.Array) else pa.array(rows, pa.int64()))
        if isinstance(rows, pa.Array):
            return self._chunk(name).take(pa.array(self._rows).take(rows))
        return self._chunk(name).take(pa.array(self._rows[np.asarray(rows, dtype=np.int64)]))

    def texts(self, name: str, rows: Rows | Sequence[int]) -> list[str | None]:
        """The values of a string column at a few rows."""
        values: list[str | None] = self.take(name, rows).to_pylist()
        return values

    def replace(self, name: str, values: pa.Array) -> None:
        """Exchange a column: before anything has been derived from it."""
        self._gathered[name] = values
        self._replaced.add(name)
        self._encoded.pop(name, None)
        self._derived = {key: mask for key, mask in self._derived.items() if key[0] != name}

    def whole_rows(self, rows: Rows) -> pa.Table:
        """Span rows with all columns, exchanged ones included."""
        picked = pa.array(rows)
        table = self._source.take(pa.array(self._rows[rows]))
        for name in self._replaced:
            index = table.schema.get_field_index(name)
            table = table.set_column(index, table.schema.field(index), self._gathered[name].take(picked))
        return table

    def _chunk(self, name: str) -> pa.Array:
        """A column of the source as one array."""
        column = self._source[name]
        if column.num_chunks != 1:
            index = self._source.schema.get_field_index(name)
            column = pa.chunked_array([column.combine_chunks()])
            self._source = self._source.set_column(index, self._source.schema.field(index), column)
        return column.chunk(0)

    def _map(self, name: str, compute: Callable[[pa.Array], pa.Array]) -> Mask:
        """A condition on a column, by row: worked out on the source, where no text has to be gathered."""
        if name in self._gathered:
            return mask_of(compute(self._gathered[name]))
        result: Mask = mask_of(compute(self._chunk(name)))[self._rows]
        return result

    def _failed(self) -> Mask:
        """Spans that failed by their own word: status, error attribute, or a recorded exception and no answer."""
        failed = self.mask("reported_status", "error")
        raised = self.present("error_type")
        if (raised & ~failed).any():
            unanswered = self.kind("llm") & ~self.present("finish_reason") & ~self.present("output_tokens")
            without_result = self.kind("tool", "retriever") & ~self.present("tool_result")
            failed |= raised & (unanswered | without_result)
        return failed

    def mask(self, name: str, value: str) -> Mask:
        """Rows where a string column has this value."""
        if (name, value) not in self._derived:
            self._derived[name, value] = self._map(name, lambda column: pc.equal(column, value))
        return self._derived[name, value].copy()

    def present(self, name: str) -> Mask:
        """Rows where a column says something: neither null nor "" nor a list of nothing."""
        if (name, None) not in self._derived:
            self._derived[name, None] = self._map(name, _says_something)
        return self._derived[name, None].copy()

    def kind(self, *kinds: str) -> Mask:
        """Rows of any of these kinds."""
        if kinds not in self._of_kinds:
            self._of_kinds[kinds] = np.array([kind in kinds for kind in SPAN_KINDS])[self._kind]
        return self._of_kinds[kinds].copy()

    def any_by_trace(self, mask: Mask) -> Mask:
        """By trace: does any of its rows hold?"""
        held: Mask = np.bincount(self.trace[mask], minlength=self.traces) > 0
        return held

    def ancestor(self, rows: Rows, wanted: Mask, *, depth: int = 12) -> Rows:
        """The nearest ancestor of each row that is `wanted`, NONE if there is none within `depth` levels."""
        found = np.full(len(rows), NONE, dtype=np.int64)
        at = self.parent[rows]
        for _ in range(depth):
            open_ = (found == NONE) & (at != NONE)
            if not open_.any():
                break
            here = np.where(open_ & wanted[np.maximum(at, 0)], at, NONE)
            found = np.where(here != NONE, here, found)
            at = np.where(open_ & (at != NONE), self.parent[np.maximum(at, 0)], NONE)
        return found

    @cached_property
    def model_calls(self) -> Mask:
        """Model calls, each once. Where instrumentations nest (a framework's span around its client's), the span that
        says more stands for the call; a wrapper around several calls stands for none."""
        said = (
            4 * self.present("output_messages").astype(np.int8)
            + 2 * self.present("finish_reason").astype(np.int8)
            + self.present("output_tokens").astype(np.int8)
        )
        return self._one_of_each_nest(said)

    @cached_property
    def counted(self) -> Mask:
        """Rows whose tokens and cost count: of nested model spans the innermost of those that tell most of their
        tokens, and embeddings that are not around others."""
        embeddings = self.kind("embedding")
        outer = self.ancestor(np.flatnonzero(embeddings), embeddings, depth=3)
        embeddings[outer[outer != NONE]] = False
        tells = 2 * self.present("output_tokens").astype(np.int8) + self.present("input_tokens").astype(np.int8)
        return self._one_of_each_nest(tells) | embeddings

    @cached_property
    def nests(self) -> Nests:
        """Model spans that nest one in one are one nest: one model call, told several times."""
        calls = self.kind("llm")
        rows = np.flatnonzero(calls)
        outer = np.full(len(self), NONE, dtype=np.int64)
        outer[rows] = self.ancestor(rows, calls, depth=4)
        nested = rows[outer[rows] != NONE]
        if not len(nested):
            return Nests(rows, rows, np.zeros(len(rows), dtype=np.bool_))
        inside = np.bincount(outer[nested], minlength=len(self))
        alone = np.zeros(len(self), dtype=np.bool_)
        alone[nested] = inside[outer[nested]] == 1
        top = rows.copy()
        for _ in range(8):
            top = np.where(alone[top], outer[top], top)
        # A wrapper around several calls, and what wraps it, is no call.
        wrappers = np.zeros(len(self), dtype=np.bool_)
        wrappers[top[inside[rows] > 1]] = True
        return Nests(rows, top, wrappers[top])

    def _one_of_each_nest(self, score: npt.NDArray[np.int8]) -> Mask:
        """Of model spans that nest one in one, the one with the highest score, the innermost among equals."""
        rows, top, several = self.nests
        if top is rows:
            return self.kind("llm")
        rows, top = rows[~several], top[~several]
        order = np.lexsort((rows, score[rows], top))
        last = np.append(top[order][1:] != top[order][:-1], True) if len(order) else order
        result = np.zeros(len(self), dtype=np.bool_)
        result[rows[order[last]]] = True
        return result

    @cached_property
    def root(self) -> Rows:
        """By trace: the row of its first root, or the first row if it has none."""
        rows = self.first[:-1].copy()
        roots = np.flatnonzero(self.is_root)[::-1]
        rows[self.trace[roots]] = roots
        return rows

    @cached_property
    def agent(self) -> pa.Array:
        """Each span's agent: its own word, the nearest agent span's above it, or the first of the trace."""
        return self._inherited("agent")

    @cached_property
    def provider(self) -> pa.Array:
        """Each span's provider, for a span that names none that of the trace's first model call."""
        return self._inherited("provider")

    def _inherited(self, name: str) -> pa.Array:
        own = self.present(name)
        rows = np.arange(len(self))
        above = self.ancestor(rows, own)
        first = np.full(self.traces, NONE, dtype=np.int64)
        holders = np.flatnonzero(own)[::-1]
        first[self.trace[holders]] = holders
        pick = np.where(own, rows, np.where(above != NONE, above, first[self.trace]))
        return pc.fill_null(self.take(name, pa.array(pick, mask=pick == NONE)), "")

    def _rows_of(self, trace: Rows, ids: npt.NDArray[np.uint64]) -> Rows:
        """For each span row the row of the span with this id in its trace, NONE if it is not there (or is 0)."""
        mixed = _mix(self.trace, self._ids)
        order = np.argsort(mixed)
        rows = order[np.minimum(np.searchsorted(mixed[order], _mix(trace, ids)), len(self) - 1)]
        right = (self._ids[rows] == ids) & (self.trace[rows] == trace) & (ids != 0)
        # A span that names itself as its parent has none.
        right &= rows != np.arange(len(rows))
        found: Rows = np.where(right, rows, NONE)
        return found


def _mix(trace: npt.NDArray[np.int64], ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed: npt.NDArray[np.uint64] = ids ^ (trace.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return mixed


def mask_of(condition: pa.Array) -> Mask:
    """An Arrow condition as a numpy mask; null does not hold."""
    held: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return held


def _says_something(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        return pc.greater(pc.binary_length(column), 0)
    if pa.types.is_list(column.type):
        return pc.greater(pc.list_value_length(column), 0)
    return pc.is_valid(column)


def all_the_same(strings: pa.Array) -> bool:
    """Whether all strings are the same, told from their bytes: as those of many columns are. False for none."""
    count = len(strings)
    if not count or strings.null_count:
        return False
    offsets = np.frombuffer(strings.buffers()[1], dtype=np.int32)[strings.offset : strings.offset + count + 1]
    size = int(offsets[1] - offsets[0])
    if (offsets[1:] - offsets[:-1] != size).any():
        return False
    if not size:
        return True
    text = np.frombuffer(strings.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(count, size)
    some = text[:: max(count // 16, 1)]
    return bool((some == text[0]).all() and (text == text[0]).all())


def _last_of_doubles(trace: Rows, ids: npt.NDArray[np.uint64]) -> Rows | None:
    """Positions of the last received row of each span, None if no span came twice: exporters send again what they
    had no answer for."""
    mixed = _mix(trace, ids)
    ordered = np.sort(mixed)
    if (ordered[1:] != ordered[:-1]).all():
        return None
    order = np.argsort(mixed, kind="stable")
    last = np.append(mixed[order][1:] != mixed[order][:-1], True)
    return np.sort(order[last])
