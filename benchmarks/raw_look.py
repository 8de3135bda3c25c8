"""What a span really carries, found by the shape of names and values in the raw protobuf.

This knows no telemetry convention, on purpose: `benchmarks.fields` holds it against what the conventions of
`ingest` read. It looks at a span's attributes, its events, and the log records that name the span, JSON inside of
strings included. It errs on the side of finding too much, so a gap that it shows deserves a look, not belief.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

_MAX_DEPTH: Final = 12
_MODEL: Final = re.compile(
    r"(?:[\w.-]+/)*(?:[a-z]{2}\.)?(?:anthropic\.|amazon\.|meta\.|mistral\.|cohere\.)?"
    r"(?:gpt-|o[1-9](?:-|$)|chatgpt|claude|gemini|gemma|llama|mi[sx]tral|command|nova|qwen|deepseek|grok|titan|phi-|"
    r"text-embedding)[\w.:@-]*",
    re.IGNORECASE,
)
_PROVIDER: Final = re.compile(
    r"openai|anthropic|google|gemini|vertex|gcp|bedrock|azure|mistral|cohere|groq|deepseek|x_?ai|litellm", re.IGNORECASE
)
_FINISH: Final = re.compile(
    r"(?:finish_?reason\.)?(?:stop|end_turn|stop_sequence|length|max_tokens|max_output_tokens|tool_?-?calls?|tool_?use|"
    r"function_call|content_?-?filter(?:ed)?|refusal|safety|completed?|incomplete|error|malformed_function_call)",
    re.IGNORECASE,
)
_CALL_ID: Final = re.compile(r"(?:call|toolu|tooluse|fc|chatcmpl-tool|ctc)[_-][\w-]{3,}|call\d+")
_RESPONSE_ID: Final = re.compile(r"(?:chatcmpl|msg|resp|gen|run)[_-][\w-]{6,}")
_HIDDEN: Final = frozenset({"", "__redacted__", "<redacted>", "[redacted]", "null", "none", "{}", "[]", '""', "..."})
_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_INPUT_SIDE: Final = re.compile(r"input|prompt|\bmessages\b|user\.message|system\.message|(?:tool|assistant)\.message")
_OUTPUT_SIDE: Final = re.compile(r"output|completion|choice|response|answer|repl(?:y|ies)|generations?\b|result")
_NOT_CONTENT: Final = re.compile(
    r"role|type|mime|\bid\b|_id\b|model|token|usage|finish|stop_reason|name|provider|kind|index|template|temperature|"
    r"parameters|settings|version|created|fingerprint|tier|logprob|metadata|status|duration|timestamp|object|class"
)

Leaf = tuple[str, object]
"""A dotted lower-case path without list positions, and a string, number or boolean."""


@dataclass(slots=True)
class RawSpan:
    """What can be found on one span."""

    trace_id: str
    span_id: str
    name: str
    leaves: list[Leaf] = field(default_factory=list)
    documents: list[Leaf] = field(default_factory=list)
    """Objects and lists, as text: arguments and results are those."""
    event_names: list[str] = field(default_factory=list)


def raw_spans(traces: Sequence[Any], logs: Sequence[Any]) -> dict[tuple[str, str], RawSpan]:
    """All spans of parsed trace and log requests, by trace and span id (hex)."""
    found: dict[tuple[str, str], RawSpan] = {}
    for request in traces:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    raw = RawSpan(span.trace_id.hex(), span.span_id.hex(), span.name)
                    _attributes(span.attributes, "", raw)
                    for event in span.events:
                        raw.event_names.append(event.name.lower())
                        _attributes(event.attributes, f"{event.name.lower()}.", raw)
                    found[raw.trace_id, raw.span_id] = raw
    for request in logs:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    of = found.get((record.trace_id.hex(), record.span_id.hex()))
                    if of is not None:
                        name = (record.event_name or _event_name(record)).lower()
                        of.event_names.append(name)
                        _attributes(record.attributes, f"{name}.", of)
                        _value(record.body, f"{name}.body", of, 0)
    return found


def _event_name(record: Any) -> str:
    return next((item.value.string_value for item in record.attributes if item.key == "event.name"), "")


def _attributes(items: Any, prefix: str, span: RawSpan) -> None:
    for item in items:
        _value(item.value, prefix + item.key.lower(), span, 0)


def _value(value: Any, path: str, span: RawSpan, depth: int) -> None:
    which = value.WhichOneof("value")
    if which is None or depth > _MAX_DEPTH:
        return
    if which == "array_value":
        span.documents.append((path, f"[{len(value.array_value.values)}]" if value.array_value.values else "[]"))
        for item in value.array_value.values:
            _value(item, path, span, depth + 1)
    elif which == "kvlist_value":
        span.documents.append((path, "{...}" if value.kvlist_value.values else "{}"))
        for item in value.kvlist_value.values:
            _value(item.value, f"{path}.{item.key.lower()}", span, depth + 1)
    else:
        _plain(getattr(value, which), path, span, depth)


def _plain(value: object, path: str, span: RawSpan, depth: int) -> None:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        span.documents.append((path, "{...}" if value else "{}"))
        for key, item in value.items():
            _plain(item, f"{path}.{str(key).lower()}", span, depth + 1)
    elif isinstance(value, list):
        span.documents.append((path, f"[{len(value)}]" if value else "[]"))
        for item in value:
            _plain(item, path, span, depth + 1)
    elif isinstance(value, str):
        span.leaves.append((path, value))
        if value.lstrip()[:1] in ("{", "[", '"'):
            try:
                _plain(orjson.loads(value), path, span, depth + 1)
            except orjson.JSONDecodeError:
                return
    elif isinstance(value, int | float | bool):
        span.leaves.append((path, value))


def _last(path: str) -> str:
    """The last part of a path that is no list position, without punctuation."""
    parts = [part for part in path.split(".") if not part.isdigit()]
    return _PLAIN.sub("", parts[-1]) if parts else ""


def _texts(span: RawSpan) -> Iterator[tuple[str, str]]:
    for path, value in span.leaves:
        if isinstance(value, str) and value.strip().lower() not in _HIDDEN:
            yield path, value


# Model calls


def providers(span: RawSpan) -> set[str]:
    """Values that name a provider."""
    return {
        value
        for path, value in _texts(span)
        if len(value) < 60 and re.search(r"provider|system$|vendor", path) and _PROVIDER.search(value)
    }


def request_models(span: RawSpan) -> set[str]:
    """Model names that are not said of the answer."""
    return {value for path, value in _models(span) if not _OUTPUT_SIDE.search(path)}


def response_models(span: RawSpan) -> set[str]:
    """Model names that are said of the answer."""
    return {value for path, value in _models(span) if _OUTPUT_SIDE.search(path) and not _ASKED.search(path)}


def _models(span: RawSpan) -> Iterator[tuple[str, str]]:
    for path, value in _texts(span):
        if "model" in path and _MODEL.fullmatch(value.strip()):
            yield path, value


def finish_reasons(span: RawSpan) -> set[str]:
    """Why the answer ended."""
    return {
        value
        for path, value in _texts(span)
        if re.search(r"finish|stop_?reason", path) and not _ASKED.search(path) and _FINISH.fullmatch(value.strip())
    }


_ASKED: Final = re.compile(r"input|request|invocation|prompt")
_INPUT_TOKENS: Final = re.compile(r"(?:input|prompt)(?:tokens?(?:count)?)?")
_OUTPUT_TOKENS: Final = re.compile(r"(?:output|completion|candidates|generated)(?:tokens?(?:count)?)?")


def tokens(span: RawSpan) -> dict[str, set[int]]:
    """Token counts by column."""
    found: dict[str, set[int]] = defaultdict(set)
    for path, value in span.leaves:
        if isinstance(value, bool) or not ("token" in path or "usage" in path):
            continue
        if isinstance(value, str):
            if not value.isdigit():
                continue
            value = int(value)
        if not isinstance(value, int | float) or value < 0 or "max" in _last(path) or "limit" in path:
            continue
        column = _token_column(path)
        if column:
            found[column].add(int(value))
    return found


def _token_column(path: str) -> str:
    tail, last = ".".join(path.split(".")[-3:]), _last(path)
    if re.search(r"cost|price|audio|image|predict|duration|nocache", tail):
        return ""
    if re.search(r"reason|thought", tail):
        return "reasoning_tokens"
    if "cache" in tail:
        return "cache_write_tokens" if re.search(r"writ|creat", tail) else "cache_read_tokens"
    if _INPUT_TOKENS.fullmatch(last):
        return "input_tokens"
    if _OUTPUT_TOKENS.fullmatch(last):
        return "output_tokens"
    return ""


def first_token(span: RawSpan) -> bool:
    """Whether the span says when the first token came."""
    pattern = re.compile(r"first_?\s?\.?(?:token|chunk)|firstchunk|completion_start_time|completion\.chunk")
    if any(pattern.search(name) for name in span.event_names):
        return True
    return any(pattern.search(path) and value not in ("", "null") for path, value in span.leaves)


def input_messages(span: RawSpan) -> bool:
    """Whether something of what the model was asked is there."""
    return any(
        _INPUT_SIDE.search(path) and not _OUTPUT_SIDE.search(path.split(".")[-1]) and not _meta(path)
        for path, _ in _texts(span)
        if not re.search(r"output|completions?\.|choice", path)
    )


def output_messages(span: RawSpan) -> bool:
    """Whether something of what the model answered is there: text, or a call."""
    return any(
        _OUTPUT_SIDE.search(path) and not _meta(path)
        for path, _ in _texts(span)
        if not re.search(r"input\.|prompt|invocation|request", path)
    )


def _meta(path: str) -> bool:
    kept = path.replace("tool_calls", "").replace("user.message", "")
    return bool(_NOT_CONTENT.search(".".join(kept.split(".")[-2:]))) and not path.endswith("arguments")


def definitions(span: RawSpan) -> bool:
    """Whether the tools that were offered are there."""
    return any(
        value != "[]"
        and re.search(r"tools?(?:\.|$|_)|functions?(?:\.|$)|definitions", path)
        and re.search(r"definition|schema|\bparameters$|tools$|functions$|function_tools", path)
        and not re.search(r"tool_calls?|tool_choice|support", path)
        for path, value in [*span.documents, *_texts(span)]
    )


def response_ids(span: RawSpan) -> set[str]:
    """Ids that providers give to answers."""
    return {
        value
        for path, value in _texts(span)
        if _last(path) in ("id", "responseid") and "call" not in path and "input" not in path
        if _RESPONSE_ID.fullmatch(value)
    }


def is_response_id(text: str) -> bool:
    """Whether it looks like the id of an answer (and not like a span id)."""
    return _RESPONSE_ID.fullmatch(text) is not None


# Tool calls


def tool_names(span: RawSpan) -> set[str]:
    """Values that name the tool."""
    return {
        value
        for path, value in _texts(span)
        if len(value) < 80 and re.search(r"(?:tool|function|entity).*name$|tool_name", path)
    }


def call_ids(span: RawSpan) -> set[str]:
    """Ids that models give to calls."""
    return {value for path, value in _texts(span) if "id" in _last(path) and _CALL_ID.fullmatch(value)}


_ARGUMENTS: Final = re.compile(r"arg(?:ument)?s?\b|kwargs|\binputs?\b|tool_input|parameters|\bprompt\b|tool\.message")
_RESULT: Final = re.compile(r"result|output|response|completion|\bchoice\b|observation\.output")


def arguments(span: RawSpan) -> bool:
    """Whether the call's arguments are there, an empty object included."""
    return _held(span, _ARGUMENTS, _RESULT)


def result(span: RawSpan) -> bool:
    """Whether the call's result is there, an empty one included."""
    return _held(span, _RESULT, re.compile(r"(?!)"))


def _held(span: RawSpan, wanted: re.Pattern[str], other: re.Pattern[str]) -> bool:
    meta = re.compile(r"mime|status|token|schema|definition|description|type$|\bid$|_id$|tool_calls$|code$|rpc|http")
    for path, value in span.leaves + span.documents:
        head = ".".join(path.split(".")[:5])
        if not wanted.search(head) or other.search(head) or meta.search(path):
            continue
        if not (isinstance(value, str) and "redacted" in value.lower()):
            return True
    return False
