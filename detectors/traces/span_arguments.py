"""A tool span's arguments without what frameworks wrap around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from detectors.traces.loose_json import parse_loose
from detectors.traces.tool_schema import ToolSchema

_WRAPPERS: Final = frozenset((
    "args", "kwargs", "arguments", "input", "inputs", "input_str", "inputStr", "input_args", "params", "parameters",
    "tool_input", "toolInput", "tool_args", "tool_call", "toolCall", "raw_input", "rawInput", "value", "payload",
    "data", "name", "tool", "tool_name", "toolName", "type", "id", "call_id", "tool_call_id", "toolCallId", "tags",
    "metadata", "config", "callbacks", "context", "ctx", "run_id", "runId", "options", "self", "request", "body",
    "function",
))  # fmt: skip
"""Keys of wrappers: arguments of these names alone say nothing about the arguments within."""
_MAX_DEPTH: Final = 3


def as_written(text: str, schema: ToolSchema | None) -> str | None:
    """The arguments as the model may have written them; None where a wrapper hides them."""
    parsed = parse_loose(text)
    node = None if parsed is None else parsed.value
    if parsed is None or parsed.cut or not isinstance(node, dict):
        return text
    names = schema.properties if schema is not None else frozenset()
    if not names or names.isdisjoint(node):
        best = max(_inner(node, 0), key=lambda inner: len(names.intersection(inner)), default=None)
        if best is not None and not names.isdisjoint(best):
            node = best
        elif not _WRAPPERS.isdisjoint(node):
            plain = _plain(node)
            if plain is None:
                return None
            node = plain
    return orjson.dumps(node, default=str).decode()


def _plain(node: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a wrapper known by its keys holds: `{"args": [], "kwargs": {...}}`, `{"name": ..., "arguments": {...}}`."""
    if not node.keys() <= _WRAPPERS or (isinstance(node.get("args"), list) and node["args"]):
        return None  # something else, or arguments by position
    for key in ("arguments", "inputs", "input", "kwargs", "args", "value", "parameters"):
        inner = node.get(key)
        if isinstance(inner, str) and inner.startswith("{"):
            parsed = parse_loose(inner)
            inner = None if parsed is None or parsed.cut else parsed.value
        if isinstance(inner, dict):
            return _plain(inner) or inner
    return None


def _inner(node: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth >= _MAX_DEPTH or not isinstance(node, dict):
        return
    for value in node.values():
        if isinstance(value, str) and value.startswith("{"):
            parsed = parse_loose(value)
            value = None if parsed is None or parsed.cut else parsed.value
        if isinstance(value, dict):
            yield value
            yield from _inner(value, depth + 1)
