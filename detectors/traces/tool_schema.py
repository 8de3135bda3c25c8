"""What is known of a tool's arguments, and whether those of a call fit it."""

from __future__ import annotations

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

from detectors.traces.loose_json import CUT
from detectors.traces.schema_soundness import SIMPLE_TYPES, is_sound

_MAX_SCHEMA: Final = 256 << 10
_MAX_REFERENCES: Final = 1_000
_MAX_REASON: Final = 160
_DESCRIBING: Final = frozenset((
    "type", "description", "title", "default", "examples", "example", "$schema", "$comment", "format", "properties",
    "required", "additionalProperties", "enum", "items", "deprecated", "nullable", "anyOf",
))  # fmt: skip
_PLAIN: Final = frozenset(("type", "title", "description"))


class ToolSchema:
    """What is known of a tool's arguments; nothing, where its definition names the tool and no more."""

    __slots__ = ("_simple", "_validator")

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._validator = _compiled(schema) if schema else None
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


def _compiled(schema: Mapping[str, Any]) -> Validator | None:
    """Compile a schema; None when it is broken, too large, or asks for what is not run."""
    try:
        text = orjson.dumps(schema)
        if len(text) > _MAX_SCHEMA or b'"patternProperties"' in text or CUT.encode() in text:
            return None
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        if not is_sound(schema):
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
        if not all(value is None or type(value) is str for value in inner.get("enum") or ()):
            return None  # true is 1 to Python, but not to JSON Schema
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
    if not kinds or not all(type(kind) is str and kind in SIMPLE_TYPES for kind in kinds):
        return None
    return tuple(type_ for kind in kinds for type_ in SIMPLE_TYPES[kind])


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
    for name, types in SIMPLE_TYPES.items():
        if type(value) in types and name != "number":
            return name
    return "number"


UNKNOWN: Final = ToolSchema(None)
