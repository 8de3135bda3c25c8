"""Judges one tool result: unwraps it and says whether it is an error, empty, withheld, or a result."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

import orjson

from detectors.traces import shapes
from detectors.traces.failure_text import nothing_found, suspect
from detectors.traces.loose_json import CLASS, CUT, parse_loose, without_cuts
from detectors.traces.message_parts import block_text, json_text


class State(IntEnum):
    """What a tool's result amounts to."""

    MISSING = 0
    """There is none: not captured, or the call has no result."""
    REDACTED = 1
    """There was one, and it was withheld."""
    EMPTY = 2
    OK = 3
    ERROR = 4


class Verdict(NamedTuple):
    """A state, the kind of evidence, how sure it is (0..1), and at most 200 characters of it."""

    state: State
    kind: str = ""
    confidence: float = 1.0
    snippet: str = ""


MISSING: Final = Verdict(State.MISSING)
OK: Final = Verdict(State.OK)
_REDACTED: Final = Verdict(State.REDACTED)

_MAX_LEVELS: Final = 16
"""Six levels of JSON in JSON, with a wrapper or two at each."""
_MAX_PARSED: Final = 256 << 10
_MAX_SNIPPET: Final = 200
_EMPTY_WORDS: Final = frozenset((
    "null", "None", "none", "nil", "undefined", "[]", "{}", "()", '""', "''", "set()", "NaN", "<empty>",
    "(empty)", "[empty]", "(no output)", "[no output]", "(none)", "[None]", "[null]", "dict()", "list()",
))  # fmt: skip
_BARE: Final = frozenset(("error", "Error", "ERROR", "Error.", "error."))
"""What says nothing else. Inside of something it may be the level of a record."""
_NO_ERROR_WORDS: Final = frozenset((
    "", "none", "null", "false", "no", "0", "ok", "success", "n/a", "na", "nil", "no error", "no errors", "-",
))  # fmt: skip

_TRANSPARENT: Final = (
    "result", "output", "content", "response", "text", "message", "value", "outputs", "detail", "msg", "body",
    "raw_output", "rawOutput", "return_value", "returnValue", "observation", "answer", "payload", "reason",
    "tool_output", "toolOutput", "tool_result", "structuredContent", "structured_content", "json", "parts",
    "blocks", "description", "update", "messages",
)  # fmt: skip
"""Keys whose value stands for the whole result, when nothing beside them is data."""
_DATA: Final = frozenset((
    "data", "results", "items", "records", "rows", "documents", "matches", "hits", "entries", "list", "values",
    "files", "events", "objects", "resources", "nodes", "edges", "search_results", "organic_results",
))  # fmt: skip
"""Keys that hold data: whether it is empty matters, what it says does not."""
_BOOKKEEPING: Final = frozenset((
    "type", "status", "isError", "is_error", "success", "ok", "error", "errors", "id", "call_id", "tool_call_id",
    "toolCallId", "tool_use_id", "toolUseId", "tool_name", "toolName", "tool", "name", "role", "artifact", "lc",
    "additional_kwargs", "response_metadata", "metadata", "meta", "_meta", "annotations", "index", "cached", "code",
    "statusCode", "status_code", "http_status", "httpStatus", "httpCode", "count", "total", "total_count", "totalCount",
    "total_results", "totalResults", "row_count", "rowCount", "num_rows", "result_count", "resultCount",
    "results_count", "num_results", "numResults", "item_count", "hit_count", "size",
    "page", "per_page", "pageSize", "page_size", "limit", "offset", "query", "q",
    "took", "took_ms", "duration", "duration_ms", "elapsed", "elapsed_ms", "next", "next_page", "nextPageToken",
    "cursor", "next_cursor", "has_more", "hasMore", "request_id", "requestId", "trace_id", "traceId", "timestamp",
    "version", "mime_type", "mimeType", "raw_input", "title", "instance", "path", "exception", "traceback",
    "stack_trace", "stacktrace", "stackTrace", "stack", "errorMessage", "error_message", "errorType", "error_type",
    "error_code", "errorCode", "details", "hint", "help", "documentation_url", "retryable", "retry_after",
    "is_blocks", "exit_code", "warnings", "goto", "graph", "resume", "timed_out", "tool_call_error", CLASS,
    "input", "args", "arguments", "url", "method", "reason_phrase", "statusText", "headers", "extensions",
    "param", "err", "Error", "__args__", "kwargs", "tags", "config", "created_at", "metrics",
    "tool_kwargs", "tool_args", "tool_id", "return_direct",
))  # fmt: skip
_LOG_RECORD: Final = frozenset((
    "level", "severity", "logger", "log_level", "timestamp", "ts", "@timestamp", "time", "service", "host",
    "hostname", "line", "file", "count", "pid",
))  # fmt: skip
_SUCCESS_KEYS: Final = ("success", "ok", "succeeded", "successful", "is_success", "isSuccess")
_STATUS_KEYS: Final = ("status", "statusCode", "status_code", "http_status", "httpStatus", "httpCode", "code")
_FAILED_STATUS: Final = frozenset((
    "error", "failed", "failure", "fail", "exception", "timeout", "timed_out", "errored", "output-error",
))  # fmt: skip
_ERROR_KEYS: Final = ("error", "err", "Error", "Err", "fault", "tool_error")
_MESSAGE_KEYS: Final = (
    "errorMessage", "error_message", "errorMsg", "error_msg", "error_description", "exception", "traceback",
    "stack_trace", "stacktrace", "stackTrace",
)  # fmt: skip
_CERTAIN: Final = frozenset(("is_error_flag", "stack_trace"))


def judge_one(text: str | None) -> Verdict:
    """Judge one result as it was captured. None is a missing result, which is never empty."""
    if text is None:
        return MISSING
    return _text(text, 0, cut=False)


def _verdict(kind: str, confidence: float, evidence: Any) -> Verdict:
    return Verdict(State.ERROR, kind, round(confidence, 3), snippet(evidence))


def _empty(confidence: float, evidence: Any) -> Verdict:
    return Verdict(State.EMPTY, "empty", confidence, snippet(evidence))


def snippet(evidence: Any) -> str:
    """At most 200 characters of evidence on one line."""
    text = evidence if type(evidence) is str else json_text(evidence)
    return " ".join(text[: 2 * _MAX_SNIPPET].replace(CUT, "").split())[:_MAX_SNIPPET]


def _text(text: str, level: int, *, cut: bool) -> Verdict:
    cut = cut or text.endswith(CUT)
    stripped = text.removesuffix(CUT).strip()
    if not stripped:
        return OK if cut else _empty(1.0, text)
    if stripped in _EMPTY_WORDS:
        return _empty(0.98, stripped)
    if shapes.is_redacted(stripped):
        return _REDACTED
    if not level and stripped in _BARE:
        return _verdict("error_text", 0.7, stripped)
    if level < _MAX_LEVELS and (stripped[0] in '{["(' or "=" in stripped[:64]):
        parsed, was_cut = _parse(stripped)
        if parsed is not stripped:
            return _value(parsed, level + 1, cut=cut or was_cut)
    suspicion = suspect(stripped)
    if suspicion is not None:
        return _verdict(suspicion.kind, suspicion.confidence, stripped)
    emptiness = 0.0 if cut else nothing_found(stripped)
    return _empty(emptiness, stripped) if emptiness else OK


def _parse(text: str) -> tuple[Any, bool]:
    """Parse JSON or a printed object; the text itself when it is neither."""
    if text[0] in '{["' and len(text) <= _MAX_PARSED:
        try:
            value = orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            pass
        else:
            return value, False
    if text[0] == '"':
        return text, False
    parsed = parse_loose(text[:_MAX_PARSED])
    if parsed is None or (type(parsed.value) is dict and _is_exception(parsed.value)):
        return text, False
    return (without_cuts(parsed.value), True) if parsed.cut else (parsed.value, False)


def _is_exception(value: dict[str, Any]) -> bool:
    """`ValueError(x=1)` is prose to be judged as such."""
    name = value.get(CLASS)
    return type(name) is str and name.endswith(("Error", "Exception"))


def _value(value: Any, level: int, *, cut: bool) -> Verdict:
    if value is None:
        return OK if cut else _empty(0.98, "null")
    if type(value) is str:
        return _text(value, level, cut=cut)
    if type(value) is dict:
        return _mapping(value, level, cut=cut)
    if type(value) is list:
        return _list(value, level, cut=cut)
    return OK


def _list(items: list[Any], level: int, *, cut: bool) -> Verdict:
    if not items:
        return OK if cut else _empty(0.98, "[]")
    texts = [text for item in items if type(item) is dict and (text := block_text(item)) is not None]
    if len(texts) == len(items):
        return _text("\n".join(texts), level, cut=cut)
    if level > _MAX_LEVELS:
        return OK
    if len(items) == 2 and type(items[0]) is bool and type(items[1]) in (str, dict):  # AG2: (did it work, what came)
        verdict = _value(items[1], level + 1, cut=cut)
        return verdict if items[0] or verdict.state is State.ERROR else _verdict("error_object", 0.8, items[1])
    if len(items) == 1:
        return _value(items[0], level + 1, cut=cut)
    first = items[:8]
    if all(type(item) is dict and {"type", "loc", "msg"} <= item.keys() for item in first):
        return _verdict("invalid_arguments", 0.95, items)  # pydantic's errors, handed to the model as they are
    if all(type(item) is dict for item in first):
        verdicts = [_mapping(item, level + 1, cut=True) for item in first]
        if all(verdict.state is State.ERROR for verdict in verdicts):
            return min(verdicts, key=lambda verdict: verdict.confidence)
    if not cut and not any(_is_something(item) for item in items):
        return _empty(0.8, items)
    return OK


def _is_something(value: Any) -> bool:
    return bool(value) or value is False or (value == 0 and value is not None and type(value) in (int, float))


def _mapping(node: dict[str, Any], level: int, *, cut: bool) -> Verdict:
    if not node:
        return OK if cut else _empty(0.98, "{}")
    if level > _MAX_LEVELS:
        return OK
    inner = node.get("kwargs") if "lc" in node else node.get("data") if node.get("type") == "tool" else None
    if type(inner) is dict:
        return _mapping(inner, level + 1, cut=cut)
    named = [key for key in node if key not in _BOOKKEEPING and key not in _DATA and key not in _TRANSPARENT]
    others = [key for key in named if node[key] is not None]
    failure = _flagged(node) or _stated_error(node, others) or _status(node, others)
    if failure is not None:
        return failure
    if others or (named and len(named) == len(node)):
        if not cut and not any(_is_something(value) for value in node.values()):
            return _empty(0.75, node)
        return OK
    return _wrapped(node, level, cut=cut)


def _wrapped(node: dict[str, Any], level: int, *, cut: bool) -> Verdict:
    """Judge what a wrapper holds, there being nothing else in it."""
    payloads = [node[key] for key in _TRANSPARENT if key in node]
    data = [value for key, value in node.items() if key in _DATA]
    full = [value for value in payloads if value is False or value == 0 or value]
    if any(full_data or full_data is False for full_data in data):
        if len(data) == 1 and not full and type(data[0]) in (str, dict) and len(node) == 1:
            return _value(data[0], level + 1, cut=cut)
        return OK
    if data and not cut and not (full and all(value is None for value in data)):
        return _empty(0.95 if not full else 0.85, node)
    if not full:
        return _empty(0.95, node) if payloads and not cut else OK
    verdicts = [_value(value, level + 1, cut=cut) for value in full]
    states = {verdict.state for verdict in verdicts}
    if len(states) == 1 or (states == {State.ERROR, State.EMPTY} and len(verdicts) == 2):
        return max(verdicts, key=lambda verdict: (verdict.state, verdict.confidence))
    return OK


def _flagged(node: dict[str, Any]) -> Verdict | None:
    for key in ("isError", "is_error", "tool_call_error"):
        if node.get(key) in (True, "true", "True"):
            return _verdict("is_error_flag", 0.98, _message_of(node))
    if node.get("type") in ("error", "error-text", "error-json", "tool-error", "tool_error"):
        return _verdict("error_object", 0.95, _message_of(node))
    if "tool_call_id" in node and node.get("status") == "error":
        return _verdict("is_error_flag", 0.97, _message_of(node))
    return None


def _message_of(node: dict[str, Any]) -> Any:
    for key in ("error", "content", "message", "value", "detail", "text", "result", "output", "msg"):
        value = node.get(key)
        if value and value is not True:
            return value
    return node


def _stated_error(node: dict[str, Any], others: list[str]) -> Verdict | None:
    if len(_LOG_RECORD.intersection(node)) >= 2 and others:
        return None  # a record of a log that was asked for
    has_data = any(_is_something(node.get(key)) for key in _DATA) or _is_something(node.get("result"))
    apart = 0.93 if not others else 0.78 if len(others) <= 3 else 0.55
    if has_data:
        apart = min(apart, 0.6)
    for key in _ERROR_KEYS:
        value = node.get(key)
        if not value or type(value) is float:
            continue
        if type(value) is str:
            if value.strip().lower() not in _NO_ERROR_WORDS and not shapes.is_redacted(value):
                return _verdict("error_object", apart, value)
        elif type(value) is dict:
            if any(_is_something(inner) and inner not in (0, "0", "OK") for inner in value.values()):
                return _verdict("error_object", apart, value)
        elif type(value) is int and value is not True:
            if not others and not has_data:
                return _verdict("error_object", 0.6, node)
        else:
            return _verdict("error_object", apart, _message_of(node))
    errors = node.get("errors")
    if errors and type(errors) in (list, str, dict) and not others:
        return _verdict("error_object", 0.6 if has_data else 0.88, errors)
    for key in _MESSAGE_KEYS:
        value = node.get(key)
        if value and type(value) in (str, list) and str(value).strip().lower() not in _NO_ERROR_WORDS:
            kind = "exception" if "exception" in key or "stack" in key.lower() or key == "traceback" else "error_object"
            return _verdict(kind, 0.9 if not others else 0.55, node if type(value) is list else value)
    return None


def _status(node: dict[str, Any], others: list[str]) -> Verdict | None:
    """An envelope that says that it failed. In a record with data beside it the status is the record's own."""
    for key in _SUCCESS_KEYS:
        if key in node and node[key] in (False, "false", "False"):
            return _verdict("error_object", 0.9 if not others else 0.8 if len(others) <= 3 else 0.6, _message_of(node))
    status = node.get("status")
    if type(status) is str and status.lower() in _FAILED_STATUS:
        if not others and len(node) > 1:
            return _verdict("error_object", 0.93, _message_of(node))
        if status.lower() == "error" and len(node) == 1:  # "failed" alone may be the state of what was asked about
            return _verdict("error_object", 0.7, node)
        if status.lower() == "error" and len(others) <= 1 and ("message" in node or "detail" in node):
            return _verdict("error_object", 0.8, _message_of(node))
    for key in _STATUS_KEYS:
        value = node.get(key)
        if type(value) is str and len(value) == 3 and value.isdecimal():
            value = int(value)
        if type(value) is int and 400 <= value <= 599:
            if not others and (len(node) > 1 or key != "code"):
                return _verdict("http_error", 0.9, node)
            if key not in ("status", "code") and len(others) <= 3:
                return _verdict("http_error", 0.7, node)
    if node.get("exit_code") not in (None, 0, "0") and not others and type(node["exit_code"]) is int:
        return _verdict("error_text", 0.6, node)
    return None
