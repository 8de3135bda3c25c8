"""Tool definitions of every dialect, and what is wrong with a call's arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detectors.traces.tools import check_arguments, read_schema, read_tools

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "place": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Weather in a city", "parameters": SCHEMA}
UPPER = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}

DIALECTS: dict[str, Any] = {
    "openai": [{"type": "function", "function": FUNCTION}],
    "flat": [{"type": "function", **FUNCTION}],
    "one definition": {"type": "function", "function": FUNCTION},
    "anthropic": [{"name": "get_weather", "description": "d", "input_schema": SCHEMA}],
    "texts": [json.dumps({"type": "function", "name": "get_weather", "inputSchema": SCHEMA})],
    "schema as text": [{"name": "get_weather", "parameters": json.dumps(SCHEMA)}],
    "gemini": [{"functionDeclarations": [{"name": "get_weather", "parameters": UPPER}]}],
    "adk": [{"function_declarations": [{"name": "get_weather", "parameters_json_schema": SCHEMA}]}],
    "bedrock": {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}]},
    "mcp": {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "get_weather", "inputSchema": SCHEMA}]}},
    "by name": {"get_weather": {"description": "d", "inputSchema": {"jsonSchema": SCHEMA}}},
    "openinference": [{"tool.json_schema": json.dumps({"type": "function", "function": FUNCTION})}],
    "openinference nested": [{"tool": {"json_schema": json.dumps({"type": "function", "function": FUNCTION})}}],
    "pydantic-ai": {"function_tools": [{"name": "get_weather", "parameters_json_schema": SCHEMA}], "output_tools": []},
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("levels", [1, 3])
def test_definitions_of_every_dialect_are_read(dialect: str, levels: int) -> None:
    document = json.dumps(DIALECTS[dialect])
    for _ in range(levels - 1):
        document = json.dumps(document)

    tools = read_tools(document)

    assert list(tools) == ["get_weather"]
    assert check_arguments(tools["get_weather"], '{"city": "Paris"}') is None
    assert check_arguments(tools["get_weather"], '{"town": 5}') == "missing required 'city'"


@pytest.mark.parametrize(
    "document",
    [
        '["get_weather"]',
        '[{"type":"function","name":"get_weather","parameters":null}]',
        json.dumps(
            ["name='get_weather' description='d' args_schema=<class 'a.B'> func=<function f.<locals>.g at 0x7f>"]
        ),
        "[StructuredTool(name='get_weather', args_schema=<class 'a.B'>, func=<function f at 0x1>)]",
    ],
)
def test_tools_of_which_only_the_name_is_known_fit_anything(document: str) -> None:
    tools = read_tools(document)

    assert list(tools) == ["get_weather"]
    assert not tools["get_weather"].known
    assert check_arguments(tools["get_weather"], '{"anything": 1}') is None


def test_printed_definitions_are_read() -> None:
    printed = (
        "[Tool(name='get_weather', description='Weather in a city', parameters={'properties': {'city': "
        "{'type': 'string'}}, 'required': ['city'], 'type': 'object'}, function=<function f.<locals>.g at 0x7f>)]"
    )
    assert check_arguments(read_tools(printed)["get_weather"], "{}") == "missing required 'city'"


@pytest.mark.parametrize("document", ["", "hello there", "null", "42", "{}", "[]", '{"a": 1}', "\x00", "[" * 5_000])
def test_documents_without_definitions_offer_nothing(document: str) -> None:
    assert read_tools(document) == {}


def test_half_a_list_of_tools_offers_nothing() -> None:
    """Otherwise a call of a tool that was cut off would look like one of a tool that was never offered."""
    document = json.dumps(DIALECTS["openai"] + [{"type": "function", "function": {"name": "other"}}])

    assert all(read_tools(document[:end]) == {} for end in range(1, len(document)))


SOUND = read_tools(json.dumps(DIALECTS["openai"]))["get_weather"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"city": "Paris", "days": 3, "unit": "C", "tags": ["a"], "note": null, "place": {"zip": "1"}}', None),
        (None, None),
        ('{"city": "Par', "the arguments are not valid JSON"),
        ("", "missing required 'city'"),
        ("{}", "missing required 'city'"),
        ("null", "missing required 'city'"),
        ('{"city": "x", "town": "y"}', "unknown property 'town'"),
        ('{"city": 5}', "'city' should be string, is integer"),
        ('{"city": null}', "'city' should be string, is null"),
        ('{"city": "x", "days": "five"}', "'days' should be integer, is string"),
        ('{"city": "x", "days": 1.5}', "'days' should be integer, is number"),
        ('{"city": "x", "unit": "K"}', "'unit' is not one of the allowed values"),
        ('{"city": "x", "tags": ["a", 1]}', "'tags.1' should be string, is integer"),
        ('{"city": "x", "place": {}}', "missing required 'zip' in 'place'"),
        ("[1]", "the arguments should be object, is array"),
        # What frameworks coerce is forgiven.
        ('{"city": "x", "days": "5"}', None),
        ('{"city": "x", "days": 5.0}', None),
        ('{"city": "x", "days": null}', None),
        ("{'city': 'x'}", None),
        (json.dumps('{"city": "x"}'), None),
        ('{"city": "x…', None),
    ],
)
def test_what_is_wrong_with_arguments(arguments: str | None, reason: str | None) -> None:
    assert check_arguments(SOUND, arguments) == reason


def test_reasons_never_quote_values() -> None:
    for arguments in ('{"city": ["secret"]}', '{"city": "x", "unit": "secret"}', '{"city": "x", "place": "secret"}'):
        assert "secret" not in (check_arguments(SOUND, arguments) or "secret")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objct"},
        {"type": "object", "properties": 5},
        {"type": "object", "required": "city"},
        {"type": "object", "$ref": "http://127.0.0.1:9/schema.json"},
        {"type": "object", "$ref": "#/nowhere"},
        {"type": "object", "patternProperties": {"(a+)+$": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "properties": {"city": {"type": "string", "pattern": "(x+x+)+y"}}},
    ],
)
def test_broken_and_dangerous_schemas_know_nothing(schema: dict[str, Any]) -> None:
    assert check_arguments(read_schema(json.dumps(schema)), json.dumps({"city": "x" * 60})) is None


def test_a_schema_that_doubles_itself_is_given_up_on() -> None:
    definitions = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    bomb = {"type": "object", "$ref": "#/$defs/a0", "$defs": {**definitions, "a40": {"type": "object"}}}

    assert check_arguments(read_schema(json.dumps(bomb)), "{}") is None


def test_references_within_a_schema_resolve() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}

    assert check_arguments(read_schema(json.dumps(schema)), '{"a": 1}') == "'a' should be string, is integer"
