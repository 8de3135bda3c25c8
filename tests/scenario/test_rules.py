"""Every rule: traces in which it must find something, in several conventions."""

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
LOOP = [genai_tool(number, 1, start=number, seconds=0.5) for number in range(2, 8)]

FOUND: dict[str, dict[str, list[Span]]] = {
    "tool_error": {
        "status, OpenTelemetry": [genai_agent(1), genai_tool(2, 1, {"gen_ai.tool.call.result": None}, error="boom")],
        "level, Langfuse": [langfuse_tool(1, level="ERROR")],
        "success flag, by hand": [plain_tool(1, attributes={"tool.success": False})],
        "status, OpenInference": [openinference_tool(1, result=None, error="ValueError: no")],
    },
    "silent_tool_failure": {
        "text, OpenTelemetry": [
            genai_tool(1, attributes={"gen_ai.tool.call.result": "Error: 503 Service Unavailable"})
        ],
        "object, Vercel": [vercel_tool(1, result='{"error": "quota exceeded"}')],
        "wrapped flag, OpenLLMetry": [
            traceloop_tool(1, result='{"output": {"isError": true, "content": "no such city"}}')
        ],
        "text, by hand": [plain_tool(1, attributes={"output": "Error: connection refused"})],
        "swallowed request": [genai_agent(1, seconds=9), genai_tool(2, 1, seconds=5), request(3, 2, 503, start=1)],
        "swallowed request without a tool span": [
            genai_agent(1, seconds=9),
            genai_llm(2, 1, [user("Weather?")], [asks(CALL)], "tool_calls"),
            request(3, 1, 503, start=2),
            genai_llm(4, 1, [user("Weather?"), asks(CALL), answers(CALL, "none")], [says("Sunny.")], start=4),
        ],
        "in the next question": [
            genai_llm(1, given=[user("Weather?"), asks(CALL), answers(CALL, "Error: timed out")], said=[says("Sunny.")])
        ],
    },
    "empty_tool_result": {
        "list, OpenTelemetry": [genai_tool(1, attributes={"gen_ai.tool.call.result": "[]"})],
        "wrapped, OpenInference": [openinference_tool(1, result='{"result": []}')],
        "null, by hand": [plain_tool(1, attributes={"output": "null"})],
        "text, Langfuse": [langfuse_tool(1, result="")],
        "beside null fields, OpenLLMetry": [
            traceloop_tool(1, result='{"status": "success", "result": "", "images": null}')
        ],
    },
    "invalid_tool_call": {
        "unknown tool": [
            genai_llm(
                1,
                said=[asks(CALL, name="get_wether")],
                finish="tool_calls",
                attributes={"gen_ai.tool.definitions": OFFER},
            )
        ],
        "refused by type, OpenTelemetry": [
            genai_tool(1, attributes={"error.type": "invalid_arguments"}, error="refused"),
        ],
        "missing argument, OpenInference": [
            openinference_llm(
                1,
                attributes={
                    "input.value": json.dumps({"messages": [], "tools": json.loads(OFFER)}),
                    "llm.output_messages.0.message.role": "assistant",
                    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
                    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"town": 5}',
                },
            )
        ],
        "broken JSON, Vercel": [
            vercel_llm(
                1,
                attributes={
                    "ai.response.text": "",
                    "ai.response.finishReason": "tool-calls",
                    "ai.response.toolCalls": json.dumps(
                        [{"toolCallId": "call_1", "toolName": "get_weather", "args": '{"city": "Par'}]
                    ),
                },
            )
        ],
        "schema on the tool's span, by hand": [
            plain_tool(
                1,
                attributes={
                    "tool.args": '{"town": 5}',
                    "tool.definition.schema": json.dumps(
                        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
                    ),
                },
            )
        ],
        "refused by the framework": [genai_agent(1, error="No ToolCallback found for tool name: get_wether")],
    },
    "tool_loop": {
        "identical, OpenTelemetry": [genai_agent(1, seconds=9), *LOOP],
        "by hand": [plain_tool(number, start=number, seconds=0.5) for number in range(1, 6)],
        "masked": [
            plain_tool(number, start=number, seconds=0.5, attributes={"input": '{"email": "**********"}'})
            for number in range(1, 5)
        ],
        "two in turns": [
            Span(
                number,
                0,
                "call",
                {"openinference.span.kind": "TOOL", "tool.name": "ab"[number % 2], "output.value": "pending"},
                start=number,
                seconds=0.5,
            )
            for number in range(1, 9)
        ],
        "wrapped arguments, OpenLLMetry": [traceloop_tool(number, start=number, seconds=0.5) for number in range(1, 6)],
        "stopped by the framework": [genai_agent(1, error="GraphRecursionError: Recursion limit of 25 reached")],
    },
    "llm_error": {
        "status, OpenTelemetry": [genai_llm(1, finish=None, error="RateLimitError: 429")],
        "flag, by hand": [
            plain_llm(1, attributes={"completion": None, "error": "APITimeoutError: Request timed out."})
        ],
        "told by the agent": [genai_agent(1, error="500 The server had an error while processing your request")],
        "finish reason without an answer": [genai_llm(1, said=[says("")], finish="error")],
    },
    "rescued_failure": {
        "retry, OpenTelemetry": [
            genai_agent(1, seconds=9),
            genai_llm(2, 1, finish=None, error="429"),
            genai_llm(3, 1, start=2),
        ],
        "resent below the call": [
            genai_llm(1, seconds=5),
            request(2, 1, 429, seconds=0.1),
            request(3, 1, 200, start=1),
        ],
        "counted by the SDK": [genai_llm(1, attributes={"retry_attempts": 1})],
        "the tool called again": [
            genai_agent(1, seconds=9),
            genai_tool(2, 1, {"gen_ai.tool.call.result": "Error: timed out"}),
            genai_tool(3, 1, start=2),
        ],
    },
    "truncated_output": {
        "OpenTelemetry": [genai_llm(1, finish="length")],
        "Vercel": [vercel_llm(1, attributes={"ai.response.finishReason": "max-tokens"})],
        "in the response only, OpenInference": [
            openinference_llm(
                1,
                attributes={
                    "output.value": '{"choices": [{"finish_reason": "length", "message": '
                    '{"role": "assistant", "content": "It is"}}]}'
                },
            )
        ],
        "told by the agent": [
            genai_agent(
                1,
                attributes={
                    "gen_ai.output.messages": '[{"role": "assistant", "content": "It", "finish_reason": "length"}]'
                },
            )
        ],
    },
    "filtered_output": {
        "OpenTelemetry": [genai_llm(1, finish="content_filter")],
        "Gemini's word": [genai_llm(1, finish="SAFETY")],
        "refusal in the message": [
            genai_llm(1, said=[{"role": "assistant", "content": None, "refusal": "I can not."}])
        ],
        "by hand": [plain_llm(1, attributes={"completion": "", "finish_reason": "content_filter"})],
    },
    "empty_output": {
        "OpenTelemetry": [genai_llm(1, given=[user("Weather?")], said=[says("")])],
        "Vercel": [vercel_llm(1, attributes={"ai.response.text": ""})],
        "no tokens": [genai_llm(1, attributes={"gen_ai.usage.output_tokens": 0})],
        "the agent's last message": [
            genai_agent(1, attributes={"gen_ai.output.messages": '[{"role": "assistant", "content": ""}]'})
        ],
    },
    "interrupted_stream": {
        "broken connection": [
            genai_llm(1, finish=None, error="peer closed connection without sending complete message body")
        ],
        "text without an end": [
            openinference_llm(
                1,
                attributes={
                    "llm.token_count.completion": None,
                    "llm.token_count.prompt": None,
                    "llm.output_messages.0.message.role": "assistant",
                    "llm.output_messages.0.message.content": "The weather in ",
                },
            )
        ],
        "in mid-sentence": [genai_llm(1, given=[user("Weather?")], said=[says("The weather in the")])],
        "told by the agent": [genai_agent(1, error="ChunkedEncodingError: stream ended without a finish reason")],
    },
    "model_mismatch": {
        "another model": [genai_llm(1, attributes={"gen_ai.response.model": "gpt-4o-mini-2024-07-18"})],
        "another version, Vercel": [
            vercel_llm(
                1,
                attributes={"ai.model.id": "claude-sonnet-4-20250514", "ai.response.model": "claude-sonnet-4-20250929"},
            )
        ],
        "in request and response only, OpenInference": [
            openinference_llm(
                1,
                attributes={
                    "llm.model_name": "llama3.2",
                    "input.value": '{"model": "llama3.2", "messages": []}',
                    "output.value": '{"model": "llama3.2-tuned", "choices": []}',
                },
            )
        ],
    },
    "stalled_trace": {
        "before an answer": [genai_agent(1, seconds=130), genai_llm(2, 1), genai_llm(3, 1, start=120)],
        "before a tool": [genai_agent(1, seconds=300), genai_llm(2, 1), openinference_tool(3, 1, start=250)],
        "between tools, by hand": [plain_tool(1), plain_tool(2, start=100)],
    },
    "incomplete_trace": {
        "no root": [genai_llm(2, 1)],
        "no parent": [genai_agent(1), genai_tool(3, 2)],
        "by hand": [plain_tool(5, 4)],
    },
}


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in FOUND.items() for case in cases])
def test_is_found(rule: str, case: str) -> None:
    assert rule in judged(*FOUND[rule][case]).rules()


def test_every_rule_has_three_scenarios() -> None:
    assert {rule.name for rule in RULES} == FOUND.keys()
    assert all(len(cases) >= 3 for cases in FOUND.values())
