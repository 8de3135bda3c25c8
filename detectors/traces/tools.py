"""The tools that a model was offered, and whether a call fits its tool's schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from detectors.traces import shapes
from detectors.traces.loose_json import parse_loose
from detectors.traces.schema_soundness import SIMPLE_TYPES
from detectors.traces.tool_schema import UNKNOWN, ToolSchema

_MAX_DOCUMENT: Final = 4 << 20
_MAX_TOOLS: Final = 2_000
_MAX_ARGUMENTS: Final = 256 << 10
_MAX_LEVELS: Final = 8

_LIST_KEYS: Final = (*sorted(shapes.TOOL_LIST_KEYS), "function_tools", "output_tools", "builtin_tools", "result")
_WRAPPER_KEYS: Final = (
    "function",
    "toolSpec",
    "tool_spec",
    "tool",
    "definition",
    "tool.json_schema",
    "json_schema",
    "data",
)
_SCHEMA_KEYS: Final = (
    "parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema", "args_schema",
    "argsSchema", "jsonSchema", "schema", "tool_schema", "input", "tool.parameters", "outer_typed_dict_schema",
)  # fmt: skip
_DEFINITION_NAMES: Final = ("name", "tool_name", "toolName", "function_name", "tool.name")
_NAME = re.compile(r"[\w.:/-]{1,128}")


@lru_cache(maxsize=512)
def read_tools(document: str) -> dict[str, ToolSchema]:
    """Name to schema of every tool that the document defines, in whatever dialect. Do not change the result."""
    if len(document) > _MAX_DOCUMENT:
        return {}
    tools: dict[str, ToolSchema] = {}
    for name, schema in _definitions(_parse(document), 0):
        if len(tools) >= _MAX_TOOLS:
            break
        if name not in tools or not tools[name].known:
            tools[name] = ToolSchema(schema)
    return tools


@lru_cache(maxsize=512)
def read_schema(document: str) -> ToolSchema:
    """Read a document that is the schema of one tool's arguments."""
    node = _parse(document) if len(document) <= _MAX_DOCUMENT else None
    return ToolSchema(_as_schema(node)) if type(node) is dict else UNKNOWN


def check_arguments(schema: ToolSchema | None, arguments: str | None) -> str | None:
    """A short reason when arguments do not parse or break the schema; None when fine or nothing is known.

    Forgiven, because frameworks coerce it: numbers and booleans written as text, null for what is optional.
    The reason names properties and types, never values.
    """
    if arguments is None or len(arguments) > _MAX_ARGUMENTS:
        return None
    try:
        value = orjson.loads(arguments) if arguments.strip() else {}
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        loose = parse_loose(arguments)
        if loose is None or loose.cut or arguments.lstrip()[:1] != "{":
            return None if arguments.rstrip().endswith(("...", "…", "]")) else "the arguments are not valid JSON"
        value = loose.value  # a printed dict
    for _ in range(2):
        if type(value) is str and value[:1] == "{":
            try:
                value = orjson.loads(value)
            except (orjson.JSONDecodeError, UnicodeEncodeError):
                return "the arguments are not valid JSON"
    if schema is None or not schema.known:
        return None
    return schema.complaint({} if value is None else value)


# Reading definitions


def _parse(text: str) -> Any:
    """The value that the text prints, or the text. Nothing of a text that was cut: half a list of tools misleads."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        parsed = parse_loose(text)
        return text if parsed is None else None if parsed.cut else parsed.value


def _definitions(node: Any, level: int) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    if level > _MAX_LEVELS:
        return
    if type(node) is list:
        for item in node[:_MAX_TOOLS]:
            yield from _definitions(item, level + 1)
    elif type(node) is str:
        text = node.strip()
        if text[:1] in ("{", "[", '"') or "='" in text[:64]:
            parsed = _parse(text)
            if parsed is not text:
                yield from _definitions(parsed, level + 1)
        elif level and _NAME.fullmatch(text):
            yield text, None
    elif type(node) is dict:
        yield from _definitions_in(node, level)


def _definitions_in(node: dict[str, Any], level: int) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    lists = [node[key] for key in _LIST_KEYS if type(node.get(key)) in (list, dict)]
    if lists and not any(type(node.get(key)) is dict for key in _SCHEMA_KEYS):
        for inner in lists:
            yield from _definitions(inner, level + 1)
        return
    for key in _WRAPPER_KEYS:
        inner = node.get(key)
        if type(inner) is str and inner[:1] == "{":
            inner = _parse(inner)
        if type(inner) is dict and (found := list(_definitions(inner, level + 1))):
            yield from found
            return
    name = shapes.first_text(node, _DEFINITION_NAMES)
    if name is not None:
        yield name, _schema_of(node)
    elif "properties" not in node and len(node) <= _MAX_TOOLS and _is_mapping_of_tools(node):
        for key, inner in node.items():
            yield key, _schema_of(inner)
    elif type(node.get("type")) is str and "properties" not in node:
        yield node["type"], None  # a tool of the provider's own: {"type": "web_search_preview"}


def _is_mapping_of_tools(node: dict[str, Any]) -> bool:
    return bool(node) and all(
        type(inner) is dict and ("description" in inner or any(key in inner for key in _SCHEMA_KEYS))
        for inner in node.values()
    )


def _schema_of(node: dict[str, Any]) -> Mapping[str, Any] | None:
    for key in _SCHEMA_KEYS:
        schema = node.get(key)
        if type(schema) is str and schema[:1] == "{":
            schema = _parse(schema)
        if type(schema) is dict:
            return _as_schema(schema)
    return None


def _as_schema(schema: dict[str, Any]) -> Mapping[str, Any] | None:
    for key in ("json", "jsonSchema", "json_schema", "schema"):  # Bedrock, AI SDK
        inner = schema.get(key)
        if type(inner) is dict and "properties" not in schema:
            schema = inner
    if "properties" not in schema and "type" not in schema and not any(key.startswith("$") for key in schema):
        return None
    kind = schema.get("type")
    if kind is not None and type(kind) is str and kind.lower() != "object":
        return None
    normal = _lower_types(schema, 0)
    return normal if type(normal) is dict else None


def _lower_types(node: Any, depth: int) -> Any:
    """Gemini writes OBJECT and STRING, and `nullable` for a type that may be null."""
    if depth > 40:
        return True
    if type(node) is list:
        return [_lower_types(item, depth + 1) for item in node]
    if type(node) is not dict:
        return node
    out = {key: _lower_types(value, depth + 1) for key, value in node.items()}
    kind = out.get("type")
    if type(kind) is str and kind.lower() in SIMPLE_TYPES:
        out["type"] = [kind.lower(), "null"] if out.get("nullable") is True else kind.lower()
    return out
