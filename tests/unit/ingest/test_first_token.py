"""The time to the first token and the reasoning tokens are read under the names that people give them."""

from __future__ import annotations

import orjson
import pytest

from ingest.normalize import Request, normalize_spans
from ingest.otlp.json_codec import to_protobuf
from ingest.otlp.signals import TRACES


def _read(column: str, attributes: dict[str, object], event: str = "") -> object:
    start = 1_772_409_600_000_000_000
    values = {"gen_ai.operation.name": {"stringValue": "chat"}, "gen_ai.request.model": {"stringValue": "gpt-4.1"}}
    span = {
        "traceId": "1" * 32,
        "spanId": "2" * 16,
        "name": "chat gpt-4.1",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 2_000_000_000),
        "attributes": [{"key": key, "value": value} for key, value in (values | attributes).items()],
        "events": [{"name": event, "timeUnixNano": str(start + 400_000_000)}] if event else [],
    }
    body = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    return normalize_spans([Request(to_protobuf(body, TRACES), start)]).spans[column][0].as_py()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gen_ai.response.time_to_first_chunk", 0.4),
        ("gen_ai.response.time_to_first_token", 0.4),
        ("gen_ai.response.time_to_first_token_ms", 400.0),
        ("gen_ai.response.time_to_first_token", 400.0),
        ("gen_ai.server.time_to_first_token", 0.4),
        ("gen_ai.client.operation.time_to_first_token", 0.4),
        ("llm.time_to_first_token", 0.4),
    ],
)
def test_time_to_first_token(name: str, value: float) -> None:
    assert _read("time_to_first_token_ns", {name: {"doubleValue": value}}) == 400_000_000


@pytest.mark.parametrize("event", ["gen_ai.first_token", "first_token", "gen_ai.content.completion.chunk"])
def test_time_to_first_token_of_an_event(event: str) -> None:
    assert _read("time_to_first_token_ns", {}, event) == 400_000_000


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens_details.reasoning_tokens",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
    ],
)
def test_reasoning_tokens(name: str) -> None:
    assert _read("reasoning_tokens", {name: {"intValue": "40"}}) == 40
