"""Reads one tool call or one tool result out of one JSON object, in whatever dialect it is written."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from detectors.traces import shapes
from detectors.traces.loose_json import CUT

_MAX_PRINTED: Final = 1 << 20
_ABSENT: Final = object()
_OBSERVATION = re.compile(r"(?:Call id: (\S{1,100})\n)?(?:Observation:\n|(?=Error:\n))")
_INNER_CALLS: Final = ("function", "toolInvocation", "payload", "server_tool_call")
_INNER_CALL_KEYS: Final = frozenset(_INNER_CALLS)
_LINK_KEYS: Final = frozenset(shapes.LINK_KEYS)
_NAME_KEYS: Final = frozenset(shapes.NAME_KEYS)
_ARGUMENT_KEYS: Final = frozenset(shapes.ARGUMENT_KEYS)
_OWN_ARGUMENT_KEYS: Final = _ARGUMENT_KEYS - {"input", "parameters", "kwargs", "params", "raw_input", "rawInput"}
_RESULT_KEYS: Final = frozenset(shapes.RESULT_KEYS)
_ANSWER_KEYS: Final = frozenset((
    "result", "output", "observation", "tool_output", "toolOutput", "tool_result", "tool_call_error", "state",
))  # fmt: skip
_FLAG_KEYS: Final = frozenset((
    "is_error", "isError", "error", "tool_call_error", "status", "outcome", "state",
))  # fmt: skip
_FAILED: Final = frozenset(("error", "failed", "failure", "output-error"))
_SUCCEEDED: Final = frozenset(("success", "completed", "ok"))
_SAYS_FAILED: Final = frozenset(("tool-error", "retry-prompt", "retrypromptpart"))


class Call(NamedTuple):
    """A tool call as one object states it."""

    id: str | None
    name: str
    arguments: str | None
    by_provider: bool
    source: dict[str, Any]
    """The object that the name and arguments were found in."""


class Result(NamedTuple):
    """A tool result as one object states it."""

    call_id: str | None
    name: str | None
    content: str | None
    is_error: bool | None
    stated: bool
    """False when the object has no key for the content at all."""


def read_call(node: dict[str, Any], word: str) -> Call | None:
    """Read a call; None when the object names no tool. `word` is the part's type, "" if it has none."""
    source = node
    if not _INNER_CALL_KEYS.isdisjoint(node):
        for key in _INNER_CALLS:
            inner = node.get(key)
            if type(inner) is dict:
                source = inner
                break
    name = shapes.first_text(source, shapes.NAME_KEYS) or shapes.first_text(node, shapes.NAME_KEYS)
    if name is None:
        return None
    arguments: Any = _ABSENT
    for key in shapes.ARGUMENT_KEYS:
        if key in source:
            arguments = source[key]
            break
    id_ = call_id(node)
    if id_ is None and source is not node:
        id_ = call_id(source)
    by_provider = word.replace("-", "_") in shapes.BY_PROVIDER
    return Call(id_, name, _arguments_text(arguments), by_provider, source)


def call_id(node: dict[str, Any], *, own: bool = True) -> str | None:
    """The id of the call that an object makes or answers; without `own`, its bare `id` does not count."""
    if not _LINK_KEYS.isdisjoint(node) and (id_ := shapes.first_text(node, shapes.LINK_KEYS)) is not None:
        return id_
    return shapes.first_text(node, ("id", "ref")) if own else None


def read_result(node: dict[str, Any], word: str | None, *, chat: bool = False) -> Result:
    """Read a result; `chat` for a message of role tool, whose `id` may be the message's own."""
    origin = node.get("origin") or node.get("call")  # Haystack, Cohere
    source = {**origin, **node} if type(origin) is dict else node
    is_error = _error_flag(source, word)
    content: Any = _ABSENT
    for key in ("content",) if chat else shapes.RESULT_KEYS:
        if key in node:
            content = node[key]
            break
    stated = content is not _ABSENT
    error = node.get("error")
    if error and type(error) is str and (not stated or content is None):
        content, is_error, stated = error, True, True
    if type(content) is dict and "value" in content and "type" in content and len(content) <= 3:  # AI SDK
        if str(content["type"]).startswith("error"):
            is_error = True
        content = content["value"]
    result = Result(
        call_id(source, own=not (chat and "tool_call_id" in node)),
        None if _NAME_KEYS.isdisjoint(source) else shapes.first_text(source, shapes.NAME_KEYS),
        content_text(content) if stated else None,
        is_error,
        stated,
    )
    return _observed(result) if chat else result


def _observed(result: Result) -> Result:
    """Take smolagents' heading off a result: `Call id: x`, `Observation:`."""
    if result.content is None or not (heading := _OBSERVATION.match(result.content)):
        return result
    return result._replace(call_id=result.call_id or heading[1], content=result.content[heading.end() :])


def json_text(value: Any) -> str:
    """Write a value as JSON text."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (orjson.JSONEncodeError, RecursionError):
        return str(value)[:_MAX_PRINTED]


def content_text(content: Any) -> str | None:
    """The text of a result's content: text blocks joined, anything else as JSON; None when it was withheld."""
    if content is None:
        return ""
    if type(content) is str:
        if shapes.is_redacted(content):
            return None
        if content.endswith(CUT):
            return content.rstrip(CUT) or None  # certain as far as it goes; an empty beginning says nothing
        return content
    if type(content) is list and content:
        texts = [text for item in content if type(item) is dict and (text := block_text(item)) is not None]
        if len(texts) == len(content):
            return content_text("\n".join(texts))
    text = json_text(content)
    return None if CUT in text else text


def block_text(node: dict[str, Any]) -> str | None:
    """The text of a text block; None for any other object."""
    word = shapes.type_of(node)
    if word is None:
        text = node.get("text")
        return text if type(text) is str and len(node) == 1 else None
    return text_of(node) if shapes.part_of_type(word) == shapes.TEXT_PART else None


def text_of(node: dict[str, Any]) -> str | None:
    """The text in a part known to be text; None when it was not captured."""
    for key in ("text", "content", "value"):
        value = node.get(key)
        if type(value) is str:
            return value
        if type(value) is dict and type(value.get("value")) is str:
            inner: str = value["value"]
            return inner
    return None


def is_call(node: dict[str, Any]) -> bool:
    """Recognise a call without a type: a name, arguments and an id, and nothing of a tool's definition.

    A bare `id`, `name` and `input` is anything: then the id or the arguments must be a tool's by name.
    """
    return (
        not (_ARGUMENT_KEYS if not _LINK_KEYS.isdisjoint(node) else _OWN_ARGUMENT_KEYS).isdisjoint(node)
        and "description" not in node
        and "inputSchema" not in node
        and shapes.first_text(node, shapes.NAME_KEYS) is not None
        and call_id(node) is not None
    )


def is_result(node: dict[str, Any]) -> bool:
    """Recognise a result without a type: something that names the call that it answers."""
    if _LINK_KEYS.isdisjoint(node) and not ("origin" in node and "result" in node):  # Haystack
        return False
    return not _RESULT_KEYS.isdisjoint(node)


def is_call_of_function(node: dict[str, Any]) -> bool:
    """Tell OpenAI's `{"id", "function": {"name", "arguments"}}` from the definition of a function."""
    function = node["function"]
    return "parameters" not in function and ("arguments" in function or "id" in node)


def has_result(node: dict[str, Any]) -> bool:
    """Say whether a call carries its own answer, as UI messages, run records and remote MCP calls do."""
    if _ANSWER_KEYS.isdisjoint(node):
        return False
    if node.get("state") in ("result", "output-available", "output-error"):
        return True
    return any(node.get(key) is not None for key in _ANSWER_KEYS if key != "state")


def without_prefixes(node: dict[str, Any]) -> dict[str, Any]:
    """Turn OpenInference's dotted keys (`message.role`, `tool_call.function.name`) into the chat shape."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        short = key.removeprefix("message.").removeprefix("tool_call.")
        if short.startswith("function."):
            out.setdefault("function", {})[short.removeprefix("function.")] = value
        else:
            out[short] = value
    return out


def _arguments_text(value: Any) -> str | None:
    if value is _ABSENT or value is None:
        return None
    if type(value) is str:
        return None if value.endswith(CUT) or shapes.is_redacted(value) else value
    text = json_text(value)
    return None if CUT in text else text


def _error_flag(node: dict[str, Any], word: str | None) -> bool | None:
    if not _FLAG_KEYS.isdisjoint(node):
        for key in ("is_error", "isError", "error", "tool_call_error"):
            value = node.get(key)
            if type(value) is bool:
                return value
        for key in ("status", "outcome", "state"):
            status = node.get(key)
            if type(status) is str:
                if status in _FAILED:
                    return True
                if status in _SUCCEEDED:
                    return False
    if word is not None and word.lower().replace("_", "-") in _SAYS_FAILED:
        return True
    return None
