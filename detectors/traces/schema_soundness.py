"""Vouches for plain JSON Schemas: checking one by the meta-schema takes milliseconds, and a fleet has thousands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

SIMPLE_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip
"""Types of JSON Schema as those of what is read from JSON."""
_USUAL: Final = "https://json-schema.org/draft/2020-12/schema"
_DIALECTS: Final = frozenset((
    _USUAL, "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-07/schema",
))  # fmt: skip
_DEEPEST: Final = 16


def is_sound(schema: Mapping[str, Any]) -> bool:
    """Whether a schema surely is what JSON Schema allows, by any of the dialects since draft 7, the keywords that
    describe tools being all that it has. False means only: ask the library."""
    dialect = schema.get("$schema", _USUAL)
    if type(dialect) is not str or dialect not in _DIALECTS:
        return False
    return _is_schema({key: value for key, value in schema.items() if key != "$schema"}, 0)


def _is_schema(node: Any, level: int) -> bool:
    if type(node) is bool:
        return True
    if type(node) is not dict or level > _DEEPEST:
        return False
    for key, value in node.items():
        if key in _SCHEMAS:
            if not _SCHEMAS[key](value, level + 1):
                return False
        elif key not in _PLAIN or not _PLAIN[key](value):
            return False
    return True


def _all_schemas(nodes: Any, level: int) -> bool:
    return type(nodes) is list and bool(nodes) and all(_is_schema(node, level) for node in nodes)


def _schemas_by_name(nodes: Any, level: int) -> bool:
    return type(nodes) is dict and all(_is_schema(node, level) for node in nodes.values())


def _is_type(value: Any) -> bool:
    if type(value) is list:
        return bool(value) and _is_names(value) and SIMPLE_TYPES.keys() >= set(value)
    return type(value) is str and value in SIMPLE_TYPES


def _is_names(value: Any) -> bool:
    return type(value) is list and all(type(name) is str for name in value) and len(set(value)) == len(value)


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _of(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _anything(value: Any) -> bool:
    return True


_SCHEMAS: Final[Mapping[str, Callable[[Any, int], bool]]] = {
    "properties": _schemas_by_name, "items": _is_schema, "additionalProperties": _is_schema,
    "anyOf": _all_schemas, "oneOf": _all_schemas, "allOf": _all_schemas,
}  # fmt: skip
_PLAIN: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": _is_type, "required": _is_names, "enum": _of(list), "const": _anything,
    "title": _of(str), "description": _of(str), "$comment": _of(str), "format": _of(str),
    "default": _anything, "example": _anything, "nullable": _anything, "examples": _of(list), "deprecated": _of(bool),
    "minimum": _is_number, "maximum": _is_number, "minLength": _is_size, "maxLength": _is_size,
    "minItems": _is_size, "maxItems": _is_size,
}  # fmt: skip
