"""Every tool call of a batch of traces, once, whatever told of it.

A call may be told of three times: by the model call that asked for it, by the tool span that ran it, and by the
later model call that was given its result. Any of the three may be missing. Calls are matched by call id, and
where there is none by tool name and order within the trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch, mask_of
from detectors.traces.documents import Documents
from detectors.traces.histories import Told, results_told

_CALL_MARK: Final = (
    r'"type"\s*:\s*"(?:tool_call|tool_use|function_call|tool-call|function)"|"toolName"\s*:|"(?:functionCall|toolUse)"\s*:'
    r'|tool_call\.function\.name"|tool_calls\.\d+\.name"'
)
"""What an answer document has once for each call in it, in most dialects."""
_BROKEN_ARGUMENTS: Final = r'"(?:arguments|args|input)"\s*:\s*"\s*\{(?:[^"\\]|\\.)*(?:[^}"\\\s]|\\")\s*"'
_NAME_WORDS: Final = re.compile(r"[A-Za-z_][\w-]*")
_UNSPECIFIED_IDS: Final = pa.array(["", "<not specified>", "None", "null"])


@dataclass(slots=True)
class Calls:
    """One row a tool call, ordered by trace and by time within it."""

    trace: Rows
    tool_row: Rows  # the tool span, NONE if no span ran it
    asked_row: Rows  # the model call that asked for it, NONE if none says so
    result_row: Rows  # the model call that was given the result, NONE if none says so
    name: pa.Array
    call_id: pa.Array
    arguments: pa.Array  # as the tool span has them, else as the model wrote them; null: not captured
    asked: pa.Array  # as the model wrote them in this trace; null: not captured
    result: pa.Array  # null: not captured
    is_error: pa.Array  # what the payload says of itself; null: nothing
    time: Rows  # ns
    fresh: Mask  # asked, run or answered in this trace; the others belong to earlier traces of the same turn

    def __len__(self) -> int:
        return len(self.trace)

    @property
    def row(self) -> Rows:
        """The span that best stands for the call: the tool span, else who asked, else who got the result."""
        row: Rows = np.where(
            self.tool_row != NONE,
            self.tool_row,
            np.where(self.asked_row != NONE, self.asked_row, self.result_row),
        )
        return row

    def take(self, pick: Rows) -> Calls:
        """The calls at `pick`, in that order."""
        rows = pa.array(pick)
        return Calls(
            self.trace[pick], self.tool_row[pick], self.asked_row[pick], self.result_row[pick],
            self.name.take(rows), self.call_id.take(rows), self.arguments.take(rows), self.asked.take(rows),
            self.result.take(rows), self.is_error.take(rows), self.time[pick], self.fresh[pick],
        )  # fmt: skip


def calls_of(batch: TraceBatch, documents: Documents) -> Calls:
    """All tool calls of the batch."""
    tools = np.flatnonzero(outermost_tools(batch))
    asked = _asked(batch, documents, tools)
    results = results_told(batch, documents, tools, asked)
    names = batch.take("tool", tools)
    called = _called_like_tools(batch, tools, asked)
    if called:
        tools = np.concatenate([tools, np.array(list(called), dtype=np.int64)])
        names = pa.concat_arrays([names, _strings(list(called.values()))])
        order = np.argsort(tools)
        tools, names = tools[order], names.take(pa.array(order))
    return _merge(batch, tools, names, asked, results) if asked.row or results.row else _of_spans(batch, tools, names)


def _called_like_tools(batch: TraceBatch, tools: Rows, asked: Told) -> dict[int, str]:
    """Spans of no known kind that are called like a tool that was asked for before, in traces without tool spans: the
    functions behind the tools, traced as any function is. Row to tool."""
    with_tools = set(batch.trace[tools].tolist())
    wanted: dict[int, dict[str, int]] = {}
    for trace, name, row in zip(asked.trace, asked.name, asked.row, strict=True):
        if name and trace not in with_tools:
            ends = wanted.setdefault(trace, {})
            ends[name] = min(ends.get(name, int(batch.end[row])), int(batch.end[row]))
    if not wanted:
        return {}
    wanting = np.zeros(batch.traces, dtype=np.bool_)
    wanting[list(wanted)] = True
    rows = np.flatnonzero(batch.kind("other", "chain") & wanting[batch.trace])
    found: dict[int, str] = {}
    for row, name in zip(rows.tolist(), batch.texts("name", rows), strict=True):
        ends = wanted[int(batch.trace[row])]
        tool = next((word for word in (name, *_NAME_WORDS.findall(name or "")) if word in ends), None)
        if tool is not None and batch.start[row] >= ends[tool] and int(batch.parent[row]) not in found:
            found[row] = tool
    return found


def outermost_tools(batch: TraceBatch) -> Mask:
    """Tool spans that are not the inside of another span of the same call (an MCP server under its client)."""
    tools = batch.kind("tool")
    rows = np.flatnonzero(tools)
    outer = batch.ancestor(rows, tools, depth=4)
    nested = outer != NONE
    if nested.any():
        names = batch.column("tool")
        same = pc.equal(names.take(pa.array(rows[nested])), names.take(pa.array(outer[nested])))
        tools = tools.copy()
        tools[rows[nested][same.to_numpy(zero_copy_only=False)]] = False
    return tools


def _asked(batch: TraceBatch, documents: Documents, tools: Rows) -> Told:
    """Calls in the answers of model calls."""
    found = Told()
    rows = documents.talks_of_tools("output_messages", batch.model_calls)
    rows = _not_told_by_spans(batch, tools, rows)
    for row, facts in zip(rows.tolist(), documents.read("output_messages", rows), strict=True):
        for call in facts.calls:
            if not call.by_provider:
                found.add(int(batch.trace[row]), row, call.id, call.name, call.arguments, None)
    return found


def _not_told_by_spans(batch: TraceBatch, tools: Rows, rows: Rows) -> Rows:
    """Leave out the answers of traces in which as many tool spans, with arguments, ran as calls were asked for: their
    spans say all that the answers would. This spares reading most answers of well instrumented agents."""
    marks = pc.count_substring_regex(batch.take("output_messages", rows), _CALL_MARK).to_numpy(zero_copy_only=False)
    asked = np.bincount(batch.trace[rows], weights=marks, minlength=batch.traces)
    ran = np.bincount(batch.trace[tools], minlength=batch.traces)
    objects = pc.starts_with(batch.take("tool_arguments", tools), "{")
    told = np.bincount(batch.trace[tools[mask_of(objects)]], minlength=batch.traces)
    complete = (asked == ran) & (ran == told)
    # Arguments that were cut or do not parse are mended before the tool runs: then its span tells less.
    broken = pc.match_substring_regex(batch.take("output_messages", rows), _BROKEN_ARGUMENTS)
    complete[batch.trace[rows[pc.fill_null(broken, False).to_numpy(zero_copy_only=False).astype(np.bool_)]]] = False
    left: Rows = rows[~complete[batch.trace[rows]]]
    return left


def _keys(trace: Rows, call_id: pa.Array, name: pa.Array) -> tuple[pa.Array, pa.Array]:
    """By call: the key by id (null without one) and the key by name and order."""
    traces = pc.cast(pa.array(trace), pa.string())
    unknown = pc.or_(pc.is_null(call_id), pc.is_in(pc.fill_null(call_id, ""), _UNSPECIFIED_IDS))
    by_id = pc.if_else(unknown, None, pc.binary_join_element_wise(traces, call_id, "\x1f"))
    label = pc.binary_join_element_wise(traces, pc.fill_null(name, ""), "\x1f")
    codes = label.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    by_order = pc.binary_join_element_wise(label, pc.cast(pa.array(rank), pa.string()), "\x1f")
    return by_id, by_order


def _match(left: tuple[pa.Array, pa.Array], right: tuple[pa.Array, pa.Array]) -> Rows:
    """For each left call the number of the right one that is the same, NONE if there is none."""
    if not len(right[0]):
        return np.full(len(left[0]), NONE, dtype=np.int64)
    by_id = _index(left[0], right[0])
    by_order = _index(left[1], right[1])
    both_have_ids = pc.is_valid(left[0]).to_numpy(zero_copy_only=False)
    right_has_id = pc.is_valid(right[0]).to_numpy(zero_copy_only=False)
    usable = (by_order != NONE) & ~(both_have_ids & right_has_id[np.maximum(by_order, 0)])
    return np.where(by_id != NONE, by_id, np.where(usable, by_order, NONE))


def _index(values: pa.Array, among: pa.Array) -> Rows:
    found = pc.index_in(values, value_set=among, skip_nulls=True)
    rows: Rows = pc.fill_null(found, NONE).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def _strings(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _of_spans(batch: TraceBatch, tools: Rows, name: pa.Array) -> Calls:
    """The calls, where tool spans are all that tells of them."""
    count = len(tools)
    nobody = np.full(count, NONE, dtype=np.int64)
    return Calls(
        trace=batch.trace[tools], tool_row=tools, asked_row=nobody, result_row=nobody,
        name=pc.fill_null(_specified(name), ""),
        call_id=pc.fill_null(_specified(batch.take("tool_call_id", tools)), ""),
        arguments=batch.take("tool_arguments", tools), asked=pa.nulls(count, pa.string()),
        result=batch.take("tool_result", tools), is_error=pa.nulls(count, pa.bool_()),
        time=batch.start[tools], fresh=np.ones(count, dtype=np.bool_),
    )  # fmt: skip


def _specified(words: pa.Array) -> pa.Array:
    """Names or ids without the words that stand for none."""
    return pc.if_else(pc.is_in(pc.fill_null(words, ""), _UNSPECIFIED_IDS), None, words)


def _merge(batch: TraceBatch, tools: Rows, tool_name: pa.Array, asked: Told, results: Told) -> Calls:
    tool_id = batch.take("tool_call_id", tools)
    asked_trace, asked_row = np.array(asked.trace, dtype=np.int64), np.array(asked.row, dtype=np.int64)
    result_trace, result_row = np.array(results.trace, dtype=np.int64), np.array(results.row, dtype=np.int64)
    asked_name, asked_id = _strings(asked.name), _strings(asked.call_id)
    result_content, result_error = _strings(results.payload), pa.array(results.is_error, pa.bool_())

    tool_keys = _keys(batch.trace[tools], tool_id, tool_name)
    asked_keys = _keys(asked_trace, asked_id, asked_name)
    result_keys = _keys(result_trace, _strings(results.call_id), _strings(results.name))

    asked_of_tool = _match(tool_keys, asked_keys)
    result_of_tool = _match(tool_keys, result_keys)
    unrun = np.setdiff1d(np.arange(len(asked_trace)), asked_of_tool)
    result_of_asked = _match(asked_keys, result_keys)
    # A tool span without an id finds its result through the call that asked for it.
    through = np.where(
        asked_of_tool != NONE, result_of_asked[np.maximum(asked_of_tool, 0)] if len(asked_trace) else NONE, NONE
    )
    result_of_tool = np.where(result_of_tool != NONE, result_of_tool, through)
    result_of_unrun = result_of_asked[unrun]
    used = np.concatenate([result_of_tool, result_of_unrun])
    orphans = np.setdiff1d(np.arange(len(result_trace)), used)

    nothing = np.full(len(orphans), NONE, dtype=np.int64)
    result_number = np.concatenate([result_of_tool, result_of_unrun, orphans])
    picked_result = pa.array(result_number, mask=result_number == NONE)
    asked_number = np.concatenate([asked_of_tool, unrun, nothing])
    picked_asked = pa.array(asked_number, mask=asked_number == NONE)
    tool_number = np.concatenate([tools, np.full(len(unrun) + len(orphans), NONE, dtype=np.int64)])
    picked_tool = pa.array(tool_number, mask=tool_number == NONE)

    def first(*columns: pa.Array) -> pa.Array:
        return pc.coalesce(*columns) if len(columns[0]) else columns[0]

    tool_position = np.arange(len(tool_number))
    picked_name = pa.array(tool_position, mask=tool_number == NONE)  # tool spans come first

    asked_row_of = _rows(asked_row, asked_number)
    result_row_of = _rows(result_row, result_number)
    time = np.where(
        tool_number != NONE,
        batch.start[np.maximum(tool_number, 0)] if len(batch) else 0,
        batch.end[np.maximum(np.where(asked_row_of != NONE, asked_row_of, result_row_of), 0)],
    )
    calls = Calls(
        trace=np.concatenate([batch.trace[tools], asked_trace[unrun], result_trace[orphans]]),
        tool_row=tool_number,
        asked_row=asked_row_of,
        result_row=result_row_of,
        name=pc.fill_null(
            first(
                _specified(tool_name.take(picked_name)),
                asked_name.take(picked_asked),
                _strings(results.name).take(picked_result),
            ),
            "",
        ),
        call_id=pc.fill_null(
            first(
                _specified(batch.take("tool_call_id", picked_tool)),
                asked_id.take(picked_asked),
                _strings(results.call_id).take(picked_result),
            ),
            "",
        ),
        arguments=first(batch.take("tool_arguments", picked_tool), _strings(asked.payload).take(picked_asked)),
        asked=_strings([text if new else None for text, new in zip(asked.payload, asked.fresh, strict=True)]).take(
            picked_asked
        ),
        result=first(batch.take("tool_result", picked_tool), result_content.take(picked_result)),
        is_error=result_error.take(picked_result),
        time=time,
        fresh=(tool_number != NONE) | _of(asked.fresh, asked_number) | _of(results.fresh, result_number),
    )
    return calls.take(np.lexsort((calls.time, calls.trace)))


def _rows(rows: Rows, number: Rows) -> Rows:
    if not len(rows):
        return np.full(len(number), NONE, dtype=np.int64)
    found: Rows = np.where(number != NONE, rows[np.maximum(number, 0)], NONE)
    return found


def _of(flags: list[bool], number: Rows) -> Mask:
    if not flags:
        return np.zeros(len(number), dtype=np.bool_)
    found: Mask = (number != NONE) & np.array(flags, dtype=np.bool_)[np.maximum(number, 0)]
    return found
