"""What becomes of spans and log events whatever words they use, and of what makes no sense."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dimwatch import vocabulary
from dimwatch.app.pipeline import Pipeline
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings
from ingest.normalize import Request, normalize_spans
from ingest.prices import Prices
from tests.telemetry import START_NS, Seen, Span, Value, agent, chat, judged, logs_request, seen, spans_request, tool

DEEP = "[" * 300 + "]" * 300


def row(attributes: dict[str, Value], **other: Any) -> dict[str, Any]:
    """The canonical row of one span."""
    (found,) = normalize_spans([spans_request([Span(1, attributes=attributes, **other)])]).spans.to_pylist()
    return dict(found)


def call(**attributes: Value) -> dict[str, Any]:
    """The row of a model call with these attributes, underscores for dots."""
    dotted = {key.replace("__", "."): value for key, value in attributes.items()}
    return row({"gen_ai.operation.name": "chat", **dotted})


def test_the_current_convention_wins_over_the_old_ones() -> None:
    found = call(
        gen_ai__usage__input_tokens=5, gen_ai__usage__prompt_tokens=6, llm__token_count__prompt=7,
        gen_ai__provider__name="anthropic", gen_ai__system="openai",
    )  # fmt: skip
    assert (found["input_tokens"], found["provider"]) == (5, "anthropic")


@pytest.mark.parametrize(
    ("value", "tokens"),
    [("12", 12), (12.0, 12), ("12.4", 12), ("twelve", None), ("", None), (-1, None), (math.nan, None), (math.inf, None),
     (1e300, None), (True, None), ("9" * 400, None), (0, 0), ("0", 0)],
)  # fmt: skip
def test_numbers_are_read_from_strings_and_nonsense_is_nothing(value: Value, tokens: int | None) -> None:
    assert call(gen_ai__usage__input_tokens=value)["input_tokens"] == tokens


def test_endless_cost_is_no_cost() -> None:
    assert call(gen_ai__usage__cost=math.inf)["cost_usd"] is None


def test_missing_is_not_empty() -> None:
    assert tool_row({})["tool_result"] is None
    assert tool_row({"gen_ai.tool.call.result": ""})["tool_result"] == ""
    assert call(gen_ai__output__messages="")["output_messages"] == ""
    assert call()["output_messages"] is None


def tool_row(attributes: dict[str, Value]) -> dict[str, Any]:
    """The row of a tool call."""
    return row({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f", **attributes})


def test_time_to_first_token_in_seconds_by_event_and_by_date() -> None:
    assert call(gen_ai__response__time_to_first_chunk=0.25)["time_to_first_token_ns"] == 250_000_000
    by_date = {"langfuse.observation.completion_start_time": '"2025-10-09T08:53:20.500Z"'}
    assert call(**by_date)["time_to_first_token_ns"] == 500_000_000


@pytest.mark.parametrize("date", ["2026-99-99T99:99:99Z", "9999-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "soon", ""])
def test_a_date_that_is_none_says_nothing(date: str) -> None:
    assert call(**{"langfuse.observation.completion_start_time": date})["time_to_first_token_ns"] is None


@pytest.mark.parametrize(
    ("said", "word"),
    [("end_turn", "stop"), ('["tool_calls"]', "tool_call"), ("STOP", "stop"), ("FinishReason.MAX_TOKENS", "length"),
     ("SAFETY", "content_filter"), ("MALFORMED_FUNCTION_CALL", "malformed_tool_call"), ("bored", "unknown"), ("", ""),
     ("[[[]]]", ""), ("null", "")],
)  # fmt: skip
def test_finish_reasons_are_one_vocabulary(said: str, word: str) -> None:
    assert vocabulary.finish_reason(said) == word
    assert call(gen_ai__response__finish_reasons=said)["finish_reason"] == word


@pytest.mark.parametrize(
    ("said", "name"),
    [("OpenAI", "openai"), ("azure_openai", "azure.ai.openai"), ("openai.chat", "openai"), ("langchain", ""),
     ("google", "gcp.gemini"), ("acme", "acme")],
)  # fmt: skip
def test_providers_are_one_vocabulary(said: str, name: str) -> None:
    assert vocabulary.provider(said) == name


def test_a_model_keeps_its_publisher_and_loses_its_router() -> None:
    assert vocabulary.model("openrouter/meta-llama/llama-3").endswith("meta-llama/llama-3")
    assert vocabulary.model("litellm/openai/gpt-4o") == "gpt-4o"
    assert call(gen_ai__request__model="openai/gpt-4o")["provider"] == "openai"


def test_a_malformed_request_does_not_harm_the_others() -> None:
    good = spans_request([chat(1)])
    result = seen([Request(b"\xff\xff", START_NS), good, Request(good.body[:-3], START_NS)])
    assert (len(result.spans), len(result.malformed)) == (1, 2)


def test_spans_with_impossible_ids_and_times_are_counted() -> None:
    never = chat(2, start=-1_760_000_000)
    result = seen([spans_request([chat(1), never]), spans_request([chat(0), chat(3, seconds=1e10)])])
    assert (result.arrived, result.dropped) == (2, {("spans", "invalid_time"): 2})


@pytest.mark.parametrize(
    "attributes",
    [
        {"llm.output_messages.0." + "a." * 5000 + "tool": "tool"},
        {"llm.output_messages.0.\u00b2": "tool arguments"},
        {"llm.output_messages.0.message.tool_calls." + "9" * 5000 + ".x": "tool arguments"},
        {"gen_ai.output.messages": DEEP},
        {"gen_ai.output.messages": "{" * 100_000},
        {"gen_ai.input.messages": '[{"role":"tool","content":' + DEEP + "}]"},
        {"input.value": '{"model":"x","tools":' + DEEP + "}"},
        {"gen_ai.tool.definitions": DEEP},
        {"gen_ai.agent.name": "\0\x1f", "gen_ai.output.messages": "\0"},
    ],
)
def test_payloads_past_all_reason_are_taken(attributes: dict[str, Value]) -> None:
    result = judged(agent(1), chat(2, 1, attributes), tool(3, 1, result=DEEP, arguments="{'a':" * 3000))
    assert (len(result.spans), result.malformed, result.dropped) == (3, [], {})
    assert result.trace["spans"] == 3


@pytest.mark.parametrize("value", [1e300, -1e300, math.nan, math.inf])
def test_log_events_with_impossible_numbers_are_taken(value: float) -> None:
    event = ("gen_ai.client.inference.operation.details", 1, {"gen_ai.usage.input_tokens": value}, None)
    result = judged(chat(1, attributes={"gen_ai.usage.input_tokens": None}), logs=[logs_request([event])])
    assert (result.span(1)["input_tokens"], result.malformed) == (None, [])


def test_messages_of_log_events_are_joined_to_their_span() -> None:
    events: list[tuple[str, int, dict[str, Value], Value]] = [
        ("gen_ai.system.message", 2, {}, {"content": "Be brief."}),
        ("gen_ai.user.message", 2, {}, {"content": "Größe?"}),
        ("gen_ai.choice", 2, {}, {"index": 0, "finish_reason": "length", "message": {"content": "42"}}),
    ]
    span = chat(2, 1, {"gen_ai.response.finish_reasons": None})
    result = judged(agent(1), span, logs=[logs_request(events)])
    messages = json.loads(result.span(2)["input_messages"])
    assert [(m["role"], m["content"]) for m in messages] == [("system", "Be brief."), ("user", "Größe?")]
    assert json.loads(result.span(2)["output_messages"])[0]["content"] == "42"
    assert result.span(2)["finish_reason"] == "length"
    assert "truncated_output" in result.rules()


def test_log_events_nested_past_all_reason_are_taken() -> None:
    events: list[tuple[str, int, dict[str, Value], Value]] = [
        ("gen_ai.user.message", 1, {}, DEEP),
        ("gen_ai.choice", 1, {}, '{"message":' + DEEP + "}"),
    ]
    result = judged(chat(1), logs=[logs_request(events)])
    assert (len(result.spans), result.malformed) == (1, [])


def test_log_events_of_no_span_are_counted() -> None:
    result = seen([spans_request([chat(1)])], [logs_request([("gen_ai.user.message", 1, {}, "hi")], trace=9)])
    assert result.dropped == {("logs", "content_without_span"): 1}
    assert [row["spans"] for row in result.traces.values()] == [1]


def test_a_model_call_has_its_price() -> None:
    price = Prices.load().of("gpt-4o-2024-08-06")
    assert price is not None
    found = judged(chat(1, attributes={"gen_ai.usage.cache_read.input_tokens": 400})).span(1)
    assert found["cost_usd"] == pytest.approx((600 * price.input + 400 * price.cached + 100 * price.output) / 1e6)


def test_a_model_without_a_price_makes_the_cost_of_its_trace_unknown() -> None:
    unknown = {"gen_ai.request.model": "homegrown-7", "gen_ai.response.model": "homegrown-7"}
    result = judged(agent(1), chat(2, 1), chat(3, 1, unknown))
    assert (result.span(3)["cost_usd"], result.trace["cost_usd"]) == (None, None)


def test_own_prices_come_before_the_built_in_ones(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    entry = {"match": "^gpt-4o", "input": 1.0, "cached": 0.0, "output": 10.0}
    file.write_text(json.dumps({"version": "ours", "models": [entry]}))
    settings = Settings.model_validate({"prices": {"file": str(file)}})
    assert seen([spans_request([chat(1)])], settings=settings).span(1)["cost_usd"] == pytest.approx(0.002)
    file.write_text("{")
    with pytest.raises(PermanentError, match=r"prices\.json"):
        Prices.load(file)


EVENTS: list[tuple[str, int, dict[str, Value], Value]] = [
    ("gen_ai.system.message", 1, {}, {"content": "Be brief."}),
    ("gen_ai.user.message", 1, {}, {"content": "Hm?"}),
    ("gen_ai.choice", 1, {}, {"index": 0, "finish_reason": "stop", "message": {"content": "Yes."}}),
]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 1, 2, 0)])
def test_messages_in_requests_of_their_own_are_one_conversation(order: tuple[int, ...]) -> None:
    event_requests = [logs_request(EVENTS, only=number) for number in range(len(EVENTS))]
    result, pipeline = Seen(), Pipeline(Settings())
    for record, number in enumerate(order):
        result.take(pipeline.add((), [event_requests[number]], now_ns=START_NS, record=record))
    result.take(pipeline.add([spans_request([chat(1)])], (), now_ns=START_NS, record=len(order)))
    result.take(pipeline.flush())
    said = [message["content"] for message in json.loads(result.span(1)["input_messages"])]
    assert said == ["Be brief.", "Hm?"]
    assert [message["content"] for message in json.loads(result.span(1)["output_messages"])] == ["Yes."]
    assert result.dropped == {}
