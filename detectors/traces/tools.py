"""The tools that a model was offered, and whether a call fits its tool's schema."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jsonschema
import orjson
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from detectors.traces import shapes
from detectors.traces.loose_json import CUT, parse_loose

_MAX_DOCUMENT: Final = 4 << 20
_MAX_TOOLS: Final = 2_000
_MAX_SCHEMA: Final = 256 << 10
_MAX_ARGUMENTS: Final = 256 << 10
_MAX_REFERENCES: Final = 1_000
_MAX_LEVELS: Final = 8
_MAX_REASON: Final = 160

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
_SIMPLE_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip
_DESCRIBING: Final = frozenset((
    "type", "description", "title", "default", "examples", "example", "$schema", "$comment", "format", "properties",
    "required", "additionalProperties", "enum", "items", "deprecated", "nullable", "anyOf",
))  # fmt: skip
_PLAIN: Final = frozenset(("type", "title", "description"))


class ToolSchema:
    """What is known of a tool's arguments; nothing, where its definition names the tool and no more."""

    __slots__ = ("_simple", "_validator")

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._validator = _validator(schema) if schema else None
        self._simple = _simple(schema) if schema and self._validator is not None else None

    @property
    def known(self) -> bool:
        """Whether there is anything to check arguments by."""
        return self._validator is not None

    @property
    def simple(self) -> SimpleSchema | None:
        """The schema as flat properties, None when only the library can tell whether arguments fit."""
        return self._simple

    @property
    def properties(self) -> frozenset[str]:
        """The names of the arguments that the schema knows."""
        schema = self._validator.schema if self._validator is not None else None
        known = schema.get("properties") if isinstance(schema, Mapping) else None
        return frozenset(known) if type(known) is dict else frozenset()

    def complaint(self, arguments: Any) -> str | None:
        """Why the arguments do not fit; None when they do, or when nothing is known."""
        if self._validator is None or (self._simple is not None and _fits(self._simple, arguments)):
            return None
        _REFERENCES.left = _MAX_REFERENCES
        try:
            for error in self._validator.iter_errors(arguments):
                if not _forgivable(error, self._validator.schema):
                    return _reason(error)
        except (Unresolvable, RecursionError, ValueError, TypeError, ArithmeticError):
            return None
        return None


UNKNOWN: Final = ToolSchema(None)


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
    if type(kind) is str and kind.lower() in _SIMPLE_TYPES:
        out["type"] = [kind.lower(), "null"] if out.get("nullable") is True else kind.lower()
    return out


# Checking arguments


class _References(threading.local):
    """How many references the validation that is running may still follow: a hostile schema doubles them."""

    left = _MAX_REFERENCES


_REFERENCES: Final = _References()
_REGISTRY: Final[Registry[Any]] = Registry()
"""Knows nothing and fetches nothing: only references within the schema resolve."""


def _counted(keyword: Any) -> Any:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _REFERENCES.left -= 1
        if _REFERENCES.left < 0:
            raise RecursionError("too many references")
        yield from keyword(validator, value, instance, schema)

    return check


def _skipped(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    return iter(())  # regular expressions from telemetry are not run


@lru_cache(maxsize=16)
def _hardened(kind: type[Validator]) -> type[Validator]:
    keywords: dict[str, Any] = {"pattern": _skipped, "uniqueItems": _skipped}
    for name in ("$ref", "$dynamicRef", "$recursiveRef"):
        if name in kind.VALIDATORS:
            keywords[name] = _counted(kind.VALIDATORS[name])
    hardened: type[Validator] = extend(kind, keywords)  # type: ignore[no-untyped-call]
    return hardened


def _validator(schema: Mapping[str, Any]) -> Validator | None:
    """Compile a schema; None when it is broken, too large, or asks for what is not run."""
    try:
        text = orjson.dumps(schema)
        if len(text) > _MAX_SCHEMA or b'"patternProperties"' in text or CUT.encode() in text:
            return None
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(dict(schema))
        return _hardened(kind)(schema, registry=_REGISTRY)
    except (jsonschema.SchemaError, orjson.JSONEncodeError, RecursionError, ValueError, TypeError, Unresolvable):
        return None


class SimpleSchema(NamedTuple):
    """What `_fits` checks of a schema without surprises: by property its types, those of its items, and its enum."""

    properties: Mapping[str, tuple[tuple[type, ...] | None, tuple[type, ...] | None, Any]]
    required: tuple[str, ...]
    closed: bool


def _simple(schema: Mapping[str, Any]) -> SimpleSchema | None:
    """The schema in a form that is quick to vouch by; None when only the library can tell."""
    if not _DESCRIBING.issuperset(schema) or "enum" in schema or "items" in schema:
        return None
    properties = {}
    for name, inner in (schema.get("properties") or {}).items():
        if type(inner) is not dict or not _DESCRIBING.issuperset(inner) or "properties" in inner or "required" in inner:
            return None
        types, items = _types(inner), inner.get("items")
        if types is None and "enum" not in inner:
            return None
        if items is not None and (type(items) is not dict or not items.keys() <= _PLAIN or not _types(items)):
            return None
        properties[name] = (types, _types(items) if items else None, inner.get("enum"))
    return SimpleSchema(
        properties, tuple(schema.get("required") or ()), schema.get("additionalProperties", True) is not True
    )


def _types(schema: Mapping[str, Any]) -> tuple[type, ...] | None:
    kinds = schema.get("type")
    branches = schema.get("anyOf")
    if kinds is None and type(branches) is list and all(type(b) is dict and b.keys() <= _PLAIN for b in branches):
        kinds = [branch.get("type") for branch in branches]  # pydantic's optional
    kinds = kinds if type(kinds) is list else [kinds]
    if not kinds or not all(type(kind) is str and kind in _SIMPLE_TYPES for kind in kinds):
        return None
    return tuple(type_ for kind in kinds for type_ in _SIMPLE_TYPES[kind])


def _fits(schema: SimpleSchema, arguments: Any) -> bool:
    """Vouch for arguments that fit a simple schema; False means only: look closer."""
    if type(arguments) is not dict:
        return False
    for name in schema.required:
        if name not in arguments:
            return False
    for name, value in arguments.items():
        if name not in schema.properties:
            if schema.closed:
                return False
            continue
        types, items, enum = schema.properties[name]
        if types is not None and type(value) not in types:
            return False
        if enum is not None and value not in enum:
            return False
        if items is not None and type(value) is list and not all(type(item) in items for item in value):
            return False
    return True


def _forgivable(error: Any, root: Any) -> bool:
    if error.validator == "type":
        wanted = error.validator_value if type(error.validator_value) is list else [error.validator_value]
        value = error.instance
        if type(value) is str:
            text = value.strip().lower()
            if "boolean" in wanted and text in ("true", "false"):
                return True
            return bool({"integer", "number"}.intersection(wanted)) and _is_number(text)
        return value is None and _is_optional(error, root)
    if error.validator in ("anyOf", "oneOf") and error.context:
        branches: dict[Any, bool] = {}
        for inner in error.context:
            branch = inner.schema_path[0]
            branches[branch] = branches.get(branch, True) and _forgivable(inner, root)
        return any(branches.values())
    return error.validator in ("enum", "const") and error.instance is None and _is_optional(error, root)


def _is_optional(error: Any, root: Any) -> bool:
    path = list(error.absolute_path)
    required = root.get("required") if type(root) is dict else None
    return len(path) == 1 and path[0] not in (required or ())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return len(text) < 64


def _reason(error: Any) -> str:
    """Say what is wrong without quoting a value: arguments may be anybody's data."""
    path = ".".join(str(step) for step in error.absolute_path)
    where = f"'{path}'" if path else "the arguments"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        reason = f"missing required {', '.join(map(repr, missing))}" + (f" in {where}" if path else "")
    elif error.validator == "additionalProperties":
        known = (error.schema.get("properties") or {}) if isinstance(error.schema, Mapping) else {}
        unknown = [name for name in error.instance if name not in known]
        reason = f"unknown property {', '.join(map(repr, unknown[:4]))}" + (f" in {where}" if path else "")
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(map(str, wanted)) if isinstance(wanted, list) else wanted
        reason = f"{where} should be {wanted}, is {_type_name(error.instance)}"
    elif error.validator in ("enum", "const"):
        reason = f"{where} is not one of the allowed values"
    else:
        reason = f"{where} breaks '{error.validator}' of the schema"
    return reason[:_MAX_REASON]


def _type_name(value: Any) -> str:
    for name, types in _SIMPLE_TYPES.items():
        if type(value) in types and name != "number":
            return name
    return "number"
