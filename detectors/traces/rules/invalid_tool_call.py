"""A tool call that the model should not have made: no such tool, or arguments that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.argument_screen import surely_fit
from detectors.traces.batch import NONE, Mask, Rows
from detectors.traces.context import Context
from detectors.traces.documents import unflattened
from detectors.traces.failed_steps import steps_that_say
from detectors.traces.lookup import members
from detectors.traces.loose_json import parse_loose
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.span_arguments import as_written
from detectors.traces.tool_schema import ToolSchema
from detectors.traces.tools import check_arguments, read_schema, read_tools

SEVERAL: Final = -2
_BEFORE_A_NAME: Final = re.compile(r"(?:[/.:\-]|__)$")
_STEPS: Final = ("llm", "agent", "chain", "workflow", "other")
_UNREADABLE: Final = (
    r"(?i)JSONDecodeError|unterminated string|(unexpected|bad) (token|end|control character|character).{0,30}JSON"
    r"|(invalid|malformed) JSON|Expecting (property name|value|',' delimiter|':' delimiter)|ToolCallError|ToolCallParse"
    r"|(fail\w*|could not|unable) (to )?parse.{0,40}(tool|function|argument|field|action|call)|Code parsing failed"
    r"|AdapterParseError|OutputParser|not valid JSON"
)
_UNKNOWN_TOOL: Final = (
    r"(?i)(unknown|unrecognized|invalid|nonexistent|no such|undefined|unavailable)[ _-](tool|function)"
    r"|(tool|function)\W{0,3}[\w.-]{0,64}\W{0,3}(is |was |does |could )?(not|n't) "
    r"(found|exist|available|registered|a valid|be found|known)"
    r"|(tool|function) not found|NoSuchTool|ToolNotFound"
    r"|not among the (explicitly )?(allowed|available|known) tools|not a valid tool|tool_not_found"
    r"|no \w{0,20}(tool|function)\w{0,20} (was |were )?found"
    r"|does not have (a |an )?(tool|function)|no (tool|function) (with|named|called)"
)
_BAD_ARGUMENTS: Final = (
    r"(?i)validation[ _-]?error|ValidationException"
    r"|missing[ _]\d* ?required|required[ _](property|argument|parameter|field)"
    r"|unexpected keyword argument|missing (a )?required|Field required|schema[ _-]?(validation|violation|mismatch)"
    r"|invalid[ _-]?(tool[ _-]?)?(arguments?|args|input|param(eter)?s?)|(malformed|bad|wrong)[ _-](arguments?|args)"
    r"|arguments? (validation|parsing|are not valid|is not valid|must be)|could not parse (the )?(arguments?|tool)"
    r"|(invalid|malformed) json|JSONDecodeError|not valid json|failed to parse (the )?(arguments?|tool|json)"
    r"|ToolInput(Validation)?Error|InvalidToolInput|InvalidToolArguments|ToolInputParsing|TypeError: .*argument"
    r"|\barg(ument)?s? \S{1,40} (is|are) not (in|part of|among|accepted|valid|expected)"
    r"|mandatory (input )?(parameter|argument)"
    r"|unterminated string in json|unexpected (token|end of) .{0,20}json"
    r"|Expecting property name|Expecting value: line|unterminated string"
)
_MISSING_KEY: Final = re.compile(r"KeyError: \\?['\"]([A-Za-z_]\w{0,40})\\?['\"]")
"""Python's word for a name that is not there: an argument's, if the call did not pass it."""
_BUILT_IN: Final = r"(?i)^(final_?(result|answer|response|output)\w*|transfer_to_.*|handoff_?.*|submit_.*output)$"
"""Tools that frameworks add themselves: they are offered without being listed, and run without a span."""


def find(context: Context) -> Iterator[Finding]:
    """Calls of tools that were not offered, calls whose arguments break the schema or do not parse, calls that the
    framework refused for either reason, and calls that were asked for and never run."""
    calls = context.calls
    if not len(calls) and not len(context.batch):
        return
    refused = _refusals(context)
    offered = _Offers(context)
    suspects = ~_vouched(context, offered)
    suspects[list(refused)] = True
    rows = np.flatnonzero(suspects)
    built_in = pc.match_substring_regex(calls.name.take(rows), _BUILT_IN).to_pylist()
    columns = (column.take(rows).to_pylist() for column in (calls.name, calls.asked, calls.arguments))
    for call, name, asked, ran, is_built_in in zip(rows.tolist(), *columns, built_in, strict=True):
        reason, confidence = refused.get(call), 0.9
        if name and not is_built_in:
            broken = _broken(offered, call, name, asked, ran, bool(context.call_failed[call]))
            reason, confidence = (broken, 0.95) if broken else (reason, confidence)
        if reason is not None:
            yield _finding(context, call, reason, confidence)
    told = {int(context.batch.trace[calls.row[call]]) for call in refused}
    yield from _malformed_answers(context)
    yield from _never_run(context)
    yield from _told_by_failures(context, told)


def _vouched(context: Context, offered: _Offers) -> Mask:
    """Calls of a tool that was offered, with arguments that certainly fit."""
    calls = context.calls
    vouched = np.zeros(len(calls), dtype=np.bool_)
    names = calls.name.dictionary_encode()
    pairs = offered.of_trace[calls.trace] * np.int64(len(names.dictionary) + 1) + names.indices.to_numpy()
    arguments = pc.coalesce(calls.asked, calls.arguments)
    for pair, rows in members(pairs):
        document, name = divmod(pair, len(names.dictionary) + 1)
        tools = read_tools(offered.documents[document]) if document >= 0 else {}
        tool = names.dictionary[name].as_py()
        if document == SEVERAL or not tool or (tools and tool not in tools):
            continue
        if tool not in tools or not tools[tool].known:
            rows = rows[~offered.with_own[calls.trace[rows]]]
        vouched[rows] = surely_fit(tools.get(tool), arguments.take(pa.array(rows)))
    return vouched


def _broken(offered: _Offers, call: int, name: str, asked: str | None, ran: str | None, failed: bool) -> str | None:
    """Why this call does not fit what was offered, None if it fits or nothing is known."""
    tools = offered.at(call)
    alias = name if name in tools else next((known for known in tools if _is_same(known, name)), None)
    if tools and alias is None and offered.is_certain(call):
        return f"{name} was not offered (offered: {', '.join(sorted(tools)[:8])})"
    if asked is not None and (asked.strip() or not ran):  # some leave out the arguments that were streamed
        return check_arguments(tools.get(alias or name), asked)
    if ran is None or ran.lstrip()[:1] != "{":
        return None  # not captured, or written in a way that is not the model's
    if failed and not _parses(ran):
        return "the arguments are not valid JSON"
    schema = tools.get(alias or name)
    written = as_written(ran, schema)
    return None if written is None else check_arguments(schema, written)


def _is_same(one: str, other: str) -> bool:
    """Is one of the names the other with a server, plug-in or path before it (`/tool/search`, `mcp__web__search`)?"""
    short, long = sorted((one.lower(), other.lower()), key=len)
    return long.endswith(short) and _BEFORE_A_NAME.search(long[: -len(short)]) is not None


def _parses(text: str) -> bool:
    parsed = parse_loose(text)
    return parsed is not None and not parsed.cut


def _finding(context: Context, call: int, reason: str, confidence: float) -> Finding:
    calls = context.calls
    name = calls.name[call].as_py() or "a tool"
    return Finding(
        row=int(calls.row[call]),
        confidence=confidence,
        summary=f"Invalid call of {name}: {reason[:200]}",
        evidence={"reason": reason[:500], "arguments": calls.arguments[call].as_py()},
        tool=name,
    )


def _refusals(context: Context) -> dict[int, str]:
    """Calls that came back with the framework's word that the tool or its arguments are wrong."""
    calls = context.calls
    failed = context.call_failed | (calls.is_error.fill_null(False).to_numpy(zero_copy_only=False))
    error_result = context.verdicts.is_error
    suspects = np.flatnonzero(failed | error_result)
    results = pc.fill_null(calls.result.take(pa.array(suspects)), "")
    texts = pc.utf8_slice_codeunits(pc.binary_join_element_wise(context.call_errors(suspects), results, " "), 0, 2000)
    unknown = pc.match_substring_regex(texts, _UNKNOWN_TOOL).to_numpy(zero_copy_only=False)
    bad = pc.match_substring_regex(texts, _BAD_ARGUMENTS).to_numpy(zero_copy_only=False)
    refused = {}
    for position in np.flatnonzero(unknown | bad).tolist():
        text = texts[position].as_py().strip(": ")
        refused[int(suspects[position])] = ("unknown tool: " if unknown[position] else "bad arguments: ") + text[:300]
    for position in np.flatnonzero(pc.match_substring(texts, "KeyError").to_numpy(zero_copy_only=False)).tolist():
        call = int(suspects[position])
        key = _MISSING_KEY.search(texts[position].as_py())
        passed = calls.arguments[call].as_py()
        if key and passed and passed.lstrip()[:1] == "{" and f"{key[1]}" not in passed:
            refused.setdefault(call, f"bad arguments: the tool looked for {key[1]!r} and it was not passed")
    return refused


class _Offers:
    """The tools that were offered when a call was made."""

    def __init__(self, context: Context) -> None:
        batch = context.batch
        self._calls = context.calls
        rows = np.flatnonzero(batch.present("tool_definitions") & ~batch.kind("tool"))
        of_row, distinct = batch.encoded("tool_definitions")
        codes = of_row[rows]
        self.documents = [unflattened(text) for text in distinct.to_pylist()]
        """Distinct documents that offer tools."""
        self._agents = np.bincount(batch.trace[batch.kind("agent")], minlength=batch.traces)
        self._code_of_row: Rows = np.full(len(batch), NONE, dtype=np.int64)
        self._code_of_row[rows] = codes
        pairs = np.unique(batch.trace[rows] * np.int64(len(self.documents) + 1) + codes)
        traces, codes = np.divmod(pairs, len(self.documents) + 1)
        self._pairs = traces, codes
        self.of_trace: Rows = np.full(batch.traces, NONE, dtype=np.int64)
        """By trace: the number of the document that its model calls were offered; NONE if there is none, SEVERAL
        where they differ."""
        self.of_trace[traces] = codes
        self.of_trace[np.bincount(traces, minlength=batch.traces) > 1] = SEVERAL
        asked = np.unique(self._calls.asked_row[self._calls.asked_row != NONE])
        without = asked[self._code_of_row[asked] == NONE]
        self._in_question: dict[int, str] = {}
        for row, facts in zip(without.tolist(), context.documents.read("input_messages", without), strict=True):
            if facts.tools:
                self._in_question[row] = facts.tools
                self.of_trace[batch.trace[row]] = SEVERAL
        own = np.flatnonzero(batch.present("tool_definitions") & batch.kind("tool"))
        self.with_own: Mask = np.zeros(batch.traces, dtype=np.bool_)
        """By trace: do tool spans bring a schema?"""
        self.with_own[batch.trace[own]] = True
        self._own = dict(zip(own.tolist(), batch.texts("tool_definitions", own), strict=True))
        self.of_trace[batch.trace[own]] = np.where(
            self.of_trace[batch.trace[own]] == NONE, SEVERAL, self.of_trace[batch.trace[own]]
        )

    def at(self, call: int) -> dict[str, ToolSchema]:
        """Name to schema; empty when nothing is known of the offer."""
        row, trace = int(self._calls.asked_row[call]), int(self._calls.trace[call])
        if row != NONE and self._code_of_row[row] != NONE:
            return self._with_own(call, read_tools(self.documents[self._code_of_row[row]]))
        if row in self._in_question:
            return read_tools(unflattened(self._in_question[row]))
        traces, codes = self._pairs
        offered: dict[str, ToolSchema] = {}
        for code in codes[np.searchsorted(traces, trace) : np.searchsorted(traces, trace, side="right")].tolist():
            offered |= read_tools(self.documents[code])
        return self._with_own(call, offered)

    def _with_own(self, call: int, offered: dict[str, ToolSchema]) -> dict[str, ToolSchema]:
        """The offer, with the schema on the tool's own span where the offer names the tool at most."""
        own = self._own.get(int(self._calls.tool_row[call]))
        name: str = self._calls.name[call].as_py()
        if own is None or (offered and (name not in offered or offered[name].known)):
            return offered
        return {**offered, name: read_schema(own)}

    def is_certain(self, call: int) -> bool:
        """Is it this call's own offer, and not that of another agent of the same trace?"""
        row = int(self._calls.asked_row[call])
        own = row in self._in_question or (row != NONE and self._code_of_row[row] != NONE)
        return own or self._agents[self._calls.trace[call]] <= 1


def _told_by_failures(context: Context, told: set[int]) -> Iterator[Finding]:
    """Failed steps whose error says that the model's call could not be read, or names a tool that is not there."""
    batch = context.batch
    with_tools = batch.any_by_trace(batch.present("tool_definitions") | batch.kind("tool"))
    for pattern, sure in ((_UNKNOWN_TOOL, True), (_UNREADABLE, False)):
        for row, text in steps_that_say(context, pattern, *_STEPS):
            trace = int(batch.trace[row])
            if trace not in told and (sure or with_tools[trace]):
                told.add(trace)
                reason = (
                    "the model asked for a tool that is not there" if sure else "what the model wrote does not parse"
                )
                yield Finding(
                    row, 0.85 if sure else 0.65, f"Invalid tool call, {reason}: {text[:160]}", {"error": text}
                )
    for row, text in steps_that_say(context, r"^KeyError: ", "llm", "agent", "chain"):
        # Clients that run tools by themselves look them up by the name that the model wrote.
        name = text.removeprefix("KeyError: ").strip(" '\"")
        trace = int(batch.trace[row])
        offered = batch.texts("tool_definitions", [row])[0]
        if offered and name not in read_tools(unflattened(offered)) and trace not in told and name.isidentifier():
            yield Finding(row, 0.7, f"Invalid tool call: {name} was not offered", {"error": text}, tool=name)


def _malformed_answers(context: Context) -> Iterator[Finding]:
    """Model calls whose finish reason says that the tool call they wrote is malformed."""
    batch = context.batch
    for row in np.flatnonzero(batch.mask("finish_reason", "malformed_tool_call") & batch.model_calls).tolist():
        yield Finding(
            row=row,
            confidence=0.95,
            summary="The model wrote a tool call that does not parse",
            evidence={"finish_reason": "malformed_tool_call"},
        )


def _never_run(context: Context) -> Iterator[Finding]:
    """Calls that nobody ran in a trace that failed above them: the framework gave up on the call."""
    batch, calls = context.batch, context.calls
    orphan = (calls.asked_row != NONE) & (calls.tool_row == NONE) & (calls.result_row == NONE)
    above: Rows = batch.ancestor(calls.asked_row[orphan], batch.failed & batch.kind("agent", "chain", "workflow"))
    for call, row in zip(np.flatnonzero(orphan).tolist(), above.tolist(), strict=True):
        if row == NONE or batch.failed[calls.asked_row[call]]:
            continue
        message = batch.texts("status_message", [row])[0] or ""
        yield _finding(context, call, f"asked for and never run: {message or 'the run failed'}", 0.7)


RULE = Rule(
    name="invalid_tool_call",
    severity=Severity.WARNING,
    find=find,
    detects="A call of a tool that was not offered, with arguments that do not parse or break the declared schema, "
    "or that was asked for and never run.",
    needs=("output_messages", "tool_definitions"),
    kinds=("tool",),
    blind_spots="Tools whose definitions are not captured are checked only by what came back.",
)
