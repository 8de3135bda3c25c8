"""Schemas of tools are vouched for without the library only where it would say the same."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.traces.schema_soundness import is_sound
from detectors.traces.tools import check_arguments, read_schema

_DRAFTS = (jsonschema.Draft202012Validator, jsonschema.Draft201909Validator, jsonschema.Draft7Validator)
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_NAMES = st.sampled_from(("city", "unit", "days", "type"))

_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from((0.5, 2.0)) | st.sampled_from((*_TYPES, "", "[")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_types = st.sampled_from(_TYPES) | st.lists(st.sampled_from(_TYPES), max_size=3)


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas, most of them sound: any keyword may have any value."""
    usual = {
        "type": _types, "title": st.just("t"), "description": st.just("d"), "$comment": st.just("c"),
        "format": st.just("date"), "default": _anything, "const": _anything, "enum": st.lists(_anything, max_size=3),
        "required": st.lists(_NAMES, max_size=3), "properties": st.dictionaries(_NAMES, inner, max_size=3),
        "items": inner, "additionalProperties": st.booleans() | inner, "anyOf": st.lists(inner, max_size=2),
        "oneOf": st.lists(inner, max_size=2), "allOf": st.lists(inner, max_size=2), "minimum": st.integers(),
        "maximum": st.floats(-5, 5), "minLength": st.integers(-1, 3), "maxLength": st.integers(-1, 3),
        "minItems": st.integers(-1, 3), "maxItems": st.integers(-1, 3), "deprecated": st.booleans(),
        "examples": st.lists(_anything, max_size=2), "example": _anything, "nullable": _anything,
        "pattern": st.sampled_from(("a", "[")), "not": inner,
        "$schema": st.sampled_from([draft.META_SCHEMA["$schema"] for draft in _DRAFTS]),
    }  # fmt: skip
    return st.fixed_dictionaries({}, optional={key: value | _anything for key, value in usual.items()} | usual)


_schemas = st.recursive(st.just({}) | st.builds(lambda kind: {"type": kind}, _types), _keywords, max_leaves=8)


@given(_schemas)
def test_what_is_vouched_for_is_a_schema_in_every_dialect(schema: dict[str, Any]) -> None:
    if is_sound(schema):
        for draft in _DRAFTS:
            draft.check_schema(schema)


@pytest.mark.parametrize(("key", "value"), [
    ("type", "text"), ("type", []), ("type", ["string", "string"]), ("required", "city"), ("required", ["a", "a"]),
    ("properties", []), ("properties", {"city": {"type": 5}}), ("enum", "a"), ("items", 3), ("anyOf", []),
    ("minLength", -1), ("minimum", "2"), ("title", 4), ("additionalProperties", "no"),
])  # fmt: skip
def test_broken_schemas_are_left_to_the_library(key: str, value: object) -> None:
    assert not is_sound({key: value})


@given(
    st.dictionaries(
        _NAMES,
        st.builds(lambda kind: {"type": kind}, st.sampled_from(_TYPES))
        | st.builds(lambda values: {"type": "string", "enum": values}, st.lists(_NAMES, min_size=1, unique=True))
        | st.builds(lambda values: {"enum": values}, st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
        | st.builds(lambda kind: {"type": "array", "items": {"type": kind}}, st.sampled_from(_TYPES)),
    ),
    st.lists(_NAMES, unique=True, max_size=2),
    st.booleans(),
    st.dictionaries(_NAMES, st.booleans() | st.integers(0, 5) | st.sampled_from((1.5, 2.0)) | st.lists(st.integers())),
)
@example({"days": {"enum": [1]}}, [], True, {"days": True})
@example({"days": {"type": "integer"}}, ["days"], False, {"days": 2.0})
@example({"days": {"type": "array", "items": {"type": "integer"}}}, [], False, {"days": [True]})
def test_arguments_fit_where_the_library_says_so(
    properties: dict[str, Any], required: list[str], open_: bool, arguments: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": open_}
    assert is_sound(schema)
    fits = jsonschema.Draft202012Validator(schema).is_valid(arguments)
    assert (check_arguments(read_schema(json.dumps(schema)), json.dumps(arguments)) is None) == fits
