"""Whatever a payload is, reading it never raises, never hangs, and is the same every time."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.traces.loose_json import CUT, parse_loose
from detectors.traces.messages import read_messages
from detectors.traces.results import State, judge, judge_one
from detectors.traces.tools import check_arguments, read_schema, read_tools

KEYS = st.sampled_from((
    "role", "type", "content", "parts", "tool_calls", "function", "name", "arguments", "args", "id", "tool_call_id",
    "call_id", "result", "response", "output", "text", "data", "kwargs", "lc", "messages", "choices", "delta",
    "message",
    "usage", "finish_reason", "error", "isError", "status", "success", "errors", "tools", "parameters", "properties",
    "required", "enum", "items", "anyOf", "$ref", "functionCall", "toolResult", "origin", "model", "input", CUT,
))  # fmt: skip
WORDS = st.sampled_from((
    "assistant", "user", "tool", "system", "text", "tool_call", "tool_result", "tool_use", "function", "object",
    "string",
    "error", "failed", "Error: 503", "null", "None", "", "{}", "[]", "***", "get_weather", "call_1", '{"a": 1}',
    "[1, ", CUT,
    "Traceback (most recent call last):", "<html>", "ToolMessage(content='x')", "content='' name='x'", "\ud800",
))  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=6),
    max_leaves=25,
)
CHARACTERS = st.text(st.sampled_from("{}[]()<>\"'\\,:= \n\t\ue000aN1-.eTuxé汉\ud800"), max_size=60)
DOCUMENTS = st.one_of(
    TREES.map(json.dumps),
    TREES.map(repr),
    TREES.map(lambda tree: json.dumps(json.dumps(tree))),
    st.tuples(TREES.map(json.dumps), st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]]),
    st.tuples(TREES.map(repr), st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]]),
    CHARACTERS,
    st.text(max_size=40),
)


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS)
def test_any_document_can_be_read(document: str) -> None:
    facts = read_messages(document)

    assert facts == read_messages(document)
    assert CUT in document or not any(CUT in (result.content or "") for result in facts.results)
    positions = [call.position for call in facts.calls] + [result.position for result in facts.results]
    assert len(set(positions)) == len(positions)


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS)
def test_any_result_can_be_judged(document: str) -> None:
    verdict = judge_one(document)

    assert verdict == judge_one(document)
    assert 0 <= verdict.confidence <= 1
    assert len(verdict.snippet) <= 200
    assert verdict.state is not State.MISSING


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.text(max_size=30).filter(str.isprintable) | TREES.map(json.dumps), max_size=8))
def test_any_column_can_be_judged(results: list[str | None]) -> None:
    verdicts = judge(pa.array(results, pa.string()))

    assert [state == State.MISSING for state in verdicts.state] == [result is None for result in results]


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_any_definition_and_any_arguments_can_be_checked(definition: str, arguments: str) -> None:
    for schema in read_tools(definition).values():
        check_arguments(schema, arguments)
    check_arguments(read_schema(definition), arguments)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_printed_python_reads_back(tree: object) -> None:
    if isinstance(tree, dict | list) and CUT not in repr(tree) and "nan" not in repr(tree) and "inf" not in repr(tree):
        parsed = parse_loose(repr(tree))

        assert parsed is not None
        assert not parsed.cut
        assert parsed.value == tree or "\\u" in repr(tree)
