"""Every rule: healthy traces that look a little like what it is there for, in several conventions."""

from __future__ import annotations

import json

import pytest

from detectors.traces.rules import RULES
from tests.scenario.dialects import (
    OFFER,
    answers,
    asks,
    genai_agent,
    genai_llm,
    genai_tool,
    langfuse_tool,
    openinference_llm,
    openinference_tool,
    plain_llm,
    plain_tool,
    request,
    says,
    traceloop_tool,
    user,
    vercel_llm,
    vercel_tool,
)
from tests.telemetry import Span, judged

CALL = "call_000007"
RUNBOOK = "Runbook 12. When the tool says Error: 503 Service Unavailable, restart the gateway. " * 20

QUIET: dict[str, dict[str, list[Span]]] = {
    "tool_error": {
        "an error of nobody": [plain_tool(1, attributes={"error": "none"})],
        "a failed step that is no tool": [
            genai_agent(1, seconds=3),
            Span(2, 1, "render", error="boom"),
            genai_tool(3, 1),
        ],
        "a caught exception": [
            genai_tool(1, events=[("exception", {"exception.type": "Retry", "exception.message": "again"})])
        ],
    },
    "silent_tool_failure": {
        "a document about errors": [genai_tool(1, attributes={"gen_ai.tool.call.result": RUNBOOK})],
        "no error": [vercel_tool(1, result='{"error": null, "data": {"temperature": 18}}')],
        "a log that was asked for": [
            traceloop_tool(
                1,
                result='[{"level": "error", "service": "a", "ts": 1, "msg": "timeout"}, '
                '{"level": "info", "service": "a", "ts": 2, "msg": "ok"}]',
            )
        ],
        "a request that another made good": [
            genai_tool(1, seconds=9),
            request(2, 1, 503, seconds=0.1),
            request(3, 1, 200, start=1),
        ],
        "not captured": [openinference_tool(1, result=None)],
        "the address of an object": [
            genai_tool(1, attributes={"gen_ai.tool.call.result": "<acme.Result object at 0x7f00>"})
        ],
    },
    "empty_tool_result": {
        "not captured": [genai_tool(1, attributes={"gen_ai.tool.call.result": None})],
        "zero": [openinference_tool(1, result="0")],
        "false": [vercel_tool(1, result="false")],
        "withheld": [langfuse_tool(1, result="[REDACTED]")],
        "an empty list beside data": [traceloop_tool(1, result='{"city": "Paris", "alerts": []}')],
    },
    "invalid_tool_call": {
        "fits": [genai_llm(1, said=[asks(CALL)], finish="tool_calls", attributes={"gen_ai.tool.definitions": OFFER})],
        "arguments by position, Langfuse": [
            genai_agent(1, seconds=9, attributes={"gen_ai.tool.definitions": OFFER}),
            Span(
                2,
                1,
                "get_weather",
                {
                    "langfuse.observation.type": "tool",
                    "langfuse.observation.output": "18C",
                    "langfuse.observation.input": '{"args": ["Paris"], "kwargs": {}}',
                },
            ),
        ],
        "arguments in a wrapper": [
            genai_agent(1, seconds=9, attributes={"gen_ai.tool.definitions": OFFER}),
            genai_tool(
                2, 1, {"gen_ai.tool.call.arguments": '{"input_str": "{}", "tags": [], "inputs": {"city": "Paris"}}'}
            ),
        ],
        "a tool with its server's name": [
            genai_llm(
                1,
                said=[asks(CALL, name="functions.get_weather")],
                finish="tool_calls",
                attributes={"gen_ai.tool.definitions": OFFER},
            )
        ],
        "structured output as a tool": [
            genai_llm(
                1,
                said=[asks(CALL, '{"answer": 5}', "final_result")],
                finish="tool_calls",
                attributes={"gen_ai.tool.definitions": OFFER},
            )
        ],
        "a handoff": [
            genai_llm(
                1,
                said=[asks(CALL, "{}", "transfer_to_billing")],
                finish="tool_calls",
                attributes={"gen_ai.tool.definitions": OFFER},
            )
        ],
        "a tool that the client runs": [
            genai_agent(1, seconds=3),
            genai_llm(2, 1, said=[asks(CALL)], finish="tool_calls"),
        ],
        "a number as text": [
            vercel_llm(
                1,
                attributes={
                    "ai.response.text": "",
                    "ai.response.finishReason": "tool-calls",
                    "ai.prompt.tools": [
                        json.dumps(
                            {
                                "name": "f",
                                "parameters": {
                                    "type": "object",
                                    "properties": {"n": {"type": "integer"}},
                                    "required": ["n"],
                                },
                            }
                        )
                    ],
                    "ai.response.toolCalls": json.dumps(
                        [{"toolCallId": "call_1", "toolName": "f", "args": '{"n": "5"}'}]
                    ),
                },
            )
        ],
    },
    "tool_loop": {
        "polling until it is done": [
            genai_tool(
                number, start=number, seconds=0.5, attributes={"gen_ai.tool.call.result": f"{number * 20} % done"}
            )
            for number in range(1, 6)
        ],
        "a page after the other": [
            genai_tool(
                number, start=number, seconds=0.5, attributes={"gen_ai.tool.call.arguments": f'{{"page": {number}}}'}
            )
            for number in range(1, 8)
        ],
        "tests after every edit": [
            *(genai_tool(number, start=number, seconds=0.5) for number in (1, 3, 5, 7)),
            *(
                genai_tool(
                    number,
                    start=number,
                    seconds=0.5,
                    attributes={"gen_ai.tool.name": "edit", "gen_ai.tool.call.arguments": f'{{"line": {number}}}'},
                )
                for number in (2, 4, 6)
            ),
        ],
        "one address after the other, masked": [
            genai_tool(
                number, start=number, seconds=0.5, attributes={"gen_ai.tool.call.arguments": '{"email": "**********"}'}
            )
            for number in range(1, 4)
        ],
        "twice, by hand": [plain_tool(1), plain_tool(2, start=2)],
        "a fan-out without content": [
            genai_agent(1, seconds=9),
            *(
                genai_tool(number, 1, {"gen_ai.tool.call.arguments": None, "gen_ai.tool.call.result": None})
                for number in range(2, 12)
            ),
        ],
    },
    "llm_error": {
        "a retry that worked": [
            genai_agent(1, seconds=9),
            genai_llm(2, 1, finish=None, error="429"),
            genai_llm(3, 1, start=2),
        ],
        "talk of rate limits": [
            genai_agent(
                1,
                attributes={
                    "gen_ai.output.messages": '[{"role": "assistant", "content": "Rate limits are 60 a minute."}]'
                },
            )
        ],
        "an agent that failed for a tool": [
            genai_agent(1, seconds=3, error="ToolException: 500 Internal Server Error"),
            genai_tool(2, 1, {"gen_ai.tool.call.result": None}, error="500 Internal Server Error"),
        ],
        "by hand": [plain_llm(1, attributes={"error": ""})],
    },
    "rescued_failure": {
        "two calls that worked": [genai_agent(1, seconds=9), genai_llm(2, 1), genai_llm(3, 1, start=2)],
        "no retries": [genai_llm(1, attributes={"retry_attempts": 0})],
        "failures of two tools": [
            genai_agent(1, seconds=9),
            openinference_tool(2, 1, result="Error: timed out"),
            genai_tool(3, 1, {"gen_ai.tool.name": "get_news"}, start=2),
        ],
    },
    "truncated_output": {
        "stop": [genai_llm(1)],
        "no reason": [openinference_llm(1)],
        "the word in the text": [
            plain_llm(1, attributes={"completion": '{"finish_reason": "length"} is what the API says.'})
        ],
        "of an earlier turn": [
            genai_agent(
                1,
                attributes={
                    "gen_ai.output.messages": json.dumps(
                        [
                            user("a"),
                            {"role": "assistant", "content": "It", "finish_reason": "length"},
                            user("b"),
                            {"role": "assistant", "content": "Fine.", "finish_reason": "stop"},
                        ]
                    )
                },
            )
        ],
    },
    "filtered_output": {
        "stop": [genai_llm(1)],
        "a refusal that is null": [genai_llm(1, said=[{"role": "assistant", "content": "Sunny.", "refusal": None}])],
        "talk of filters": [vercel_llm(1, attributes={"ai.response.text": "The content_filter is on."})],
    },
    "empty_output": {
        "a tool call without text": [genai_llm(1, said=[asks(CALL)], finish="tool_calls")],
        "a tool call that was not captured": [
            genai_agent(1, seconds=9),
            genai_llm(2, 1, [user("Weather?")], [says("")]),
            genai_tool(3, 1, start=2),
        ],
        "content is not captured": [genai_llm(1)],
        "usage is not counted": [
            vercel_llm(
                1, attributes={"ai.response.text": None, "ai.usage.promptTokens": 0, "ai.usage.completionTokens": 0}
            )
        ],
        "an agent that acts": [
            genai_agent(1, seconds=9),
            genai_llm(2, 1, said=[asks(CALL)], finish="tool_calls"),
            genai_tool(3, 1, start=2),
        ],
    },
    "interrupted_stream": {
        "complete": [genai_llm(1, said=[says("It is sunny.")])],
        "streams whose ends are never recorded": [
            openinference_llm(
                number,
                attributes={
                    "llm.token_count.completion": None,
                    "gen_ai.request.stream": True,
                    "llm.output_messages.0.message.role": "assistant",
                    "llm.output_messages.0.message.content": "It is sunny.",
                },
            )
            for number in (1, 2)
        ],
        "not streamed and without text": [plain_llm(1, attributes={"completion": None, "completion_tokens": None})],
        "a time-out before the answer": [genai_llm(1, finish=None, error="APITimeoutError: Request timed out.")],
    },
    "model_mismatch": {
        "an alias and its snapshot": [genai_llm(1)],
        "a deployment": [genai_llm(1, attributes={"gen_ai.request.model": "weather-prod"})],
        "a router's prefix": [
            vercel_llm(1, attributes={"ai.model.id": "openai/gpt-4o", "ai.response.model": "gpt-4o-2024-08-06"})
        ],
        "a region and a version": [
            genai_llm(
                1,
                attributes={
                    "gen_ai.request.model": "us.anthropic.claude-sonnet-4-20250514-v1:0",
                    "gen_ai.response.model": "claude-sonnet-4-20250514",
                },
            )
        ],
        "a local tag": [plain_llm(1, attributes={"model": "llama3.2", "response.model": "llama3.2:latest"})],
    },
    "stalled_trace": {
        "at work all the time": [genai_agent(1, seconds=200), genai_llm(2, 1, seconds=190)],
        "short": [genai_agent(1, seconds=40), openinference_tool(2, 1), genai_llm(3, 1, start=35)],
        "a gap in a long run": [
            genai_agent(1, seconds=1000),
            genai_llm(2, 1, seconds=400),
            genai_llm(3, 1, start=500, seconds=400),
        ],
    },
    "incomplete_trace": {
        "complete": [genai_agent(1), genai_tool(2, 1)],
        "a single call": [openinference_llm(1)],
        "by hand": [plain_tool(1), plain_llm(2, 1)],
    },
}


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in QUIET.items() for case in cases])
def test_is_no_finding(rule: str, case: str) -> None:
    seen = judged(*QUIET[rule][case])
    assert len(seen.spans) == len(QUIET[rule][case])
    assert rule not in seen.rules()


def test_every_rule_has_three_near_misses() -> None:
    assert {rule.name for rule in RULES} == QUIET.keys()
    assert all(len(cases) >= 3 for cases in QUIET.values())


@pytest.mark.parametrize("answer", ["Sunny.", "I could not reach the weather service: Error 503."])
def test_an_answer_that_speaks_of_errors_is_an_answer(answer: str) -> None:
    seen = judged(
        genai_agent(1, seconds=9),
        genai_llm(2, 1, [user("Weather?")], [asks(CALL)], "tool_calls", {"gen_ai.tool.definitions": OFFER}),
        genai_tool(3, 1, {"gen_ai.tool.call.id": CALL}, start=2),
        genai_llm(4, 1, [user("Weather?"), asks(CALL), answers(CALL, "18C")], [says(answer)], start=4),
    )
    assert not seen.rules()
    assert seen.trace["outcome"] == "ok"
