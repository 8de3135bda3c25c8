"""What traces add to the windows of the fleet: each call and run once, by its own agent, in the right window."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from detectors.windows.points import merged, times_of
from dimwatch.app.pipeline import Pipeline
from dimwatch.settings import Settings
from tests.scenario.dialects import OFFER, Message, answers, genai_agent, genai_llm, genai_tool, says, user
from tests.telemetry import SECOND, START_NS, Seen, Span, agent, chat, judged, spans_request, tool


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def test_a_run_with_a_model_call_and_a_tool_call() -> None:
    seen = judged(agent(1, seconds=8), chat(2, 1, seconds=2), tool(3, 1, start=2, seconds=0.5))
    assert seen.point("model_error", agent="a", provider="openai", model="gpt-4o", subject="model") == (1, 0)
    assert seen.point("model_latency") == pytest.approx((1, math.log(2)), abs=1e-5)
    assert seen.point("model_speed") == pytest.approx((1, math.log(50)), abs=1e-5)
    assert seen.point("model_output_tokens") == pytest.approx((1, math.log(100)), abs=1e-5)
    assert seen.point("tool_error", agent="a", tool="search", model="", subject="tool") == (1, 0)
    assert seen.point("tool_latency") == pytest.approx((1, math.log(0.5)), abs=1e-5)
    assert seen.point("tool_result_size") == pytest.approx((1, math.log(len('{"hits": 3}') + 1)), abs=1e-5)
    assert seen.point("run_latency", agent="a", subject="run") == pytest.approx((1, math.log(8)), abs=1e-5)
    assert seen.point("run_traffic") == (1, 1)
    assert seen.point("run_tokens") == pytest.approx((1, math.log(1100)), abs=1e-5)
    n, spent = seen.point("run_spend")
    assert n == 1
    assert spent == pytest.approx(seen.trace["cost_usd"], abs=1e-8)


def test_nonsense_does_not_poison_sums() -> None:
    absurd = {
        "gen_ai.usage.cost": 1e300,
        "gen_ai.usage.output_tokens": 2**62,
        "gen_ai.response.time_to_first_chunk": 1e18,
    }
    seen = judged(agent(1), chat(2, 1, absurd, seconds=0), chat(3, 1, start=1))
    for row in merged(seen.points).to_pylist():
        assert all(math.isfinite(row[name]) for name in ("n", "total", "squares")), row
    assert seen.point("run_spend")[1] < 1e6


def test_what_is_not_captured_is_not_measured() -> None:
    unsaid = Span(3, 1, "execute_tool x", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"})
    bare = chat(2, 1, {"gen_ai.usage.output_tokens": None, "gen_ai.response.finish_reasons": None})
    seen = judged(agent(1), bare, unsaid)
    assert seen.point("tool_error") == (1, 0)
    for signal in (
        "tool_empty", "tool_result_size", "model_first_token", "model_speed", "model_output_tokens",
        "model_reasoning_tokens", "model_truncated", "model_filtered", "model_empty",
    ):  # fmt: skip
        assert seen.point(signal) == (0, 0), signal


def test_an_empty_result_is_a_hit_and_one_byte() -> None:
    seen = judged(agent(1), chat(2, 1), tool(3, 1, result="[]"), tool(4, 1, result="", start=1))
    assert seen.point("tool_empty") == (2, 2)
    assert seen.point("tool_result_size") == pytest.approx((2, math.log(3)), abs=1e-5)


def test_a_rescued_call_is_a_failed_call_and_its_run_did_not_fail() -> None:
    seen = judged(
        agent(1, seconds=9),
        chat(2, 1, {"gen_ai.response.finish_reasons": None}, error="overloaded"),
        chat(3, 1, {"gen_ai.request.model": "gpt-4o-mini", "gen_ai.response.model": "gpt-4o-mini"}, start=2),
    )
    assert seen.point("model_error", model="gpt-4o") == (1, 1)
    assert seen.point("model_error", model="gpt-4o-mini") == (1, 0)
    assert seen.point("model_retried") == (2, 1)
    assert seen.point("model_latency", model="gpt-4o") == (0, 0), "the time of a failure says nothing of the model"
    assert seen.point("run_rescued") == (1, 1)
    assert seen.point("run_failed") == (1, 0)


def test_nested_spans_are_one_call_with_what_each_of_them_says() -> None:
    outer = chat(2, 1, {"gen_ai.usage.output_tokens": None, "gen_ai.response.time_to_first_chunk": 0.5}, seconds=3)
    inner = chat(3, 2, {"gen_ai.request.model": None}, seconds=2.5)
    seen = judged(agent(1, seconds=4), outer, inner)
    assert seen.point("model_error") == (1, 0)
    assert seen.point("model_error", model="gpt-4o") == (1, 0), "asked by the outer, answered by the inner span"
    assert seen.point("model_first_token") == pytest.approx((1, math.log(0.5)), abs=1e-5)
    assert seen.point("model_speed") == pytest.approx((1, math.log(50)), abs=1e-5), "over what is left of 2.5 s"


def test_who_says_only_what_answered_is_one_series_with_its_failures() -> None:
    unasked = {"gen_ai.request.model": None, "gen_ai.response.model": "claude-sonnet-4-5-20250929"}
    failed = {"gen_ai.request.model": None, "gen_ai.response.model": "claude-sonnet-4-5"}
    seen = judged(agent(1, seconds=5), chat(2, 1, unasked), chat(3, 1, failed, start=2, error="overloaded"))
    assert seen.point("model_error", model="claude-sonnet-4-5") == (2, 1)


def test_a_call_that_failed_inside_failed() -> None:
    seen = judged(agent(1), chat(2, 1, {"gen_ai.response.finish_reasons": None}), chat(3, 2, error="boom"))
    assert seen.point("model_error") == (1, 1)


@pytest.mark.parametrize(("finish", "signal"), [("length", "model_truncated"), ("content_filter", "model_filtered")])
def test_how_answers_end(finish: str, signal: str) -> None:
    seen = judged(
        agent(1, seconds=5),
        chat(2, 1, {"gen_ai.response.finish_reasons": [finish]}),
        chat(3, 1, start=2),
    )
    assert seen.point(signal) == (2, 1)


def test_another_model_than_was_asked() -> None:
    seen = judged(agent(1), chat(2, 1, {"gen_ai.response.model": "gpt-4o-mini"}))
    assert seen.point("model_mismatch") == (1, 1)
    assert seen.sighted("answered_model") == {("gpt-4o", "gpt-4o-mini")}


def test_tools_that_fail_aloud_and_silently() -> None:
    seen = judged(
        agent(1, seconds=9),
        tool(2, 1, error="no route"),
        tool(3, 1, result='{"error": "connection refused", "status": 500}', start=2),
        tool(4, 1, name="other", start=4),
    )
    assert seen.point("tool_error") == (3, 1)
    assert seen.point("tool_silent_failure") == (3, 1)
    assert seen.point("tool_latency")[0] == 1
    assert seen.point("run_degraded") == (1, 1)


def test_a_call_that_failed_was_answered_by_no_model() -> None:
    named = {"gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o"}
    answered = named | {"gen_ai.response.model": "gpt-4o-2024-08-06"}
    seen = judged(agent(1, seconds=9), chat(2, 1, named, error="overloaded"), chat(3, 1, answered, start=2))
    assert seen.sighted("answered_model") == {("gpt-4o", "gpt-4o-2024-08-06")}


def test_loops_and_invalid_calls_are_facts_of_runs_and_of_tools() -> None:
    again = [tool(number, 1, start=number) for number in range(2, 9)]
    assert judged(agent(1, seconds=20), *again).point("run_looped") == (1, 1)
    blind = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    unseen = [Span(number, 1, "execute_tool search", blind, start=number, seconds=0.5) for number in range(2, 9)]
    assert judged(agent(1, seconds=20), *unseen).point("run_looped") == (1, 1), "no arguments are captured"
    asks = [{"id": "c", "type": "function", "function": {"name": "fly", "arguments": "{}"}}]
    offered = {"gen_ai.tool.definitions": OFFER}
    said: list[Message] = [{"role": "assistant", "content": None, "tool_calls": asks}]
    seen = judged(
        genai_agent(1, seconds=4),
        genai_llm(2, 1, [user("?")], said, finish="tool_calls", attributes=offered),
        genai_llm(3, 1, [user("?"), said[0], answers("c", "no such tool")], [says("sorry")], start=2),
    )
    assert seen.point("tool_invalid", tool="fly") == (1, 1)
    assert seen.point("run_invalid_call") == (1, 1)


def test_spans_without_any_ai_are_no_run() -> None:
    health = Span(1, 0, "GET /health", {"http.request.method": "GET", "http.response.status_code": 200})
    assert judged(health).point("run_traffic") == (0, 0)


def test_the_service_stands_for_an_agent_that_has_no_name() -> None:
    seen = judged(Span(1, 0, "invoke_agent", {"gen_ai.operation.name": "invoke_agent"}), chat(2, 1))
    assert seen.point("run_traffic", agent="shop") == (1, 1)
    assert seen.point("model_error", agent="shop") == (1, 0)


def test_release_and_region_are_those_of_the_resource() -> None:
    resource = {"service.name": "shop", "service.version": "1.2", "cloud.region": "eu-west-1"}
    seen, pipeline = Seen(), Pipeline(Settings())
    seen.take(pipeline.add([spans_request([agent(1), chat(2, 1)], resource)], (), now_ns=START_NS, record=0))
    seen.take(pipeline.flush())
    assert seen.point("model_error", release="1.2", region="eu-west-1") == (1, 0)
    assert seen.point("run_traffic", release="1.2", region="eu-west-1") == (1, 1)
    assert seen.sighted("release") == {("", "1.2")}


def test_evaluations_are_counted_where_they_say_good_or_bad() -> None:
    def evaluation(id: int, **attributes: Any) -> Span:
        kind = {"openinference.span.kind": "EVALUATOR"}
        return Span(
            id, 1, "judge", kind | {f"gen_ai.evaluation.score.{key}": value for key, value in attributes.items()}
        )

    seen = judged(
        agent(1), evaluation(2, label="fail"), evaluation(3, value=0.9), evaluation(4, label="who knows", value=7)
    )
    assert seen.point("run_feedback", agent="a") == (2, 1)


def test_late_spans_add_calls_and_no_second_run() -> None:
    seen, pipeline = Seen(), Pipeline(Settings())
    minute = START_NS + 60 * SECOND
    seen.take(pipeline.add([spans_request([agent(1), chat(2, 1)])], (), now_ns=START_NS, record=0))
    seen.take(pipeline.add((), (), now_ns=minute, record=1))
    late = spans_request([chat(2, 1), tool(3, 1)], received_ns=minute)  # one of them again
    seen.take(pipeline.add([late], (), now_ns=minute, record=2))
    seen.take(pipeline.flush())
    assert seen.point("run_traffic") == (1, 1)
    assert seen.point("model_error") == (1, 0)
    assert seen.point("tool_error") == (1, 0)


@pytest.mark.parametrize(
    ("end_s", "window_s"),
    [(12.0, 10), (-500.0, 50), (5000.0, 110)],  # when it ended; the lateness before it was judged; not after that
)
def test_a_fact_is_in_the_window_in_which_it_ended_but_never_in_one_that_is_closed(end_s: float, window_s: int) -> None:
    received = START_NS + 110 * SECOND
    spans = [agent(1, start=end_s - 3, seconds=3), chat(2, 1, start=end_s - 3, seconds=3)]
    seen, pipeline = Seen(), Pipeline(Settings(detection={"lateness_s": 60.0 if end_s < 0 else 110.0}))
    seen.take(pipeline.add([spans_request(spans, received_ns=received)], (), now_ns=received, record=0))
    seen.take(pipeline.flush())
    assert {(time - START_NS) // SECOND for time in times_of(merged(seen.points)).tolist()} == {window_s}


def test_prompts_are_told_apart_but_for_their_numbers() -> None:
    def prompt(text: str) -> set[tuple[str, str]]:
        seen = judged(genai_agent(1), genai_llm(2, 1, [system(text), user(f"hello {text}")], [says("hi")]))
        return seen.sighted("prompt")

    assert len(prompt("Be kind. Today is 2026-05-04.")) == 1
    assert prompt("Be kind. Today is 2026-05-04.") == prompt("Be kind. Today is 2026-11-22.")
    assert prompt("Be kind.") != prompt("Be brief.")
    assert judged(genai_agent(1), genai_llm(2, 1, [user("hello")], [says("hi")])).sighted("prompt") == set()
    told = [genai_llm(2, 1, attributes={"gen_ai.system_instructions": text}) for text in ("Be kind.", "Be brief.")]
    first, second = (judged(genai_agent(1), span).sighted("prompt") for span in told)
    assert len(first) == len(second) == 1
    assert first != second


def test_tool_lists_are_the_same_in_any_order() -> None:
    def tools(*names: str, wanted: str = "city") -> set[tuple[str, str]]:
        definitions = [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object", "required": [wanted]}}}
            for name in names
        ]
        offered = {"gen_ai.tool.definitions": json.dumps(definitions)}
        seen = judged(genai_agent(1), genai_llm(2, 1, attributes=offered), genai_tool(3, 1))
        return seen.sighted("tools")

    assert len(tools("a", "b")) == 2, "definitions and names"
    assert tools("a", "b") == tools("b", "a")
    assert len(tools("a", "b") & tools("a", "b", wanted="place")) == 1, "the names are the same, the schemas are not"
    assert not tools("a", "b") & tools("a", "c")
