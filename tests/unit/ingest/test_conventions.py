"""Each convention fills the canonical columns; and none where a convention is unknown."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ingest.conventions import FIELD_ORDER
from ingest.normalize import normalize_spans
from tests.telemetry import Span, Value, judged, spans_request

Case = tuple[str, dict[str, Value], dict[str, object]]
"""Span name, attributes, and what the row must hold."""

CASES: Final[dict[str, Case]] = {
    "otel_genai": (
        "chat gpt-4o",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.conversation.id": "c1",
            "gen_ai.tool.definitions": "[]",
        },
        {
            "kind": "llm",
            "convention": "otel_genai",
            "provider": "openai",
            "request_model": "gpt-4o",
            "response_model": "gpt-4o-2024-08-06",
            "finish_reason": "stop",
            "input_tokens": 7,
            "output_tokens": 3,
            "time_to_first_token_ns": 250_000_000,
            "conversation_id": "c1",
            "tool_definitions": "[]",
        },
    ),
    "otel_genai_old": (
        "chat",
        {
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.system": "openai",
            "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": 3,
            "gen_ai.completion.0.finish_reason": "length",
            "gen_ai.completion.0.content": "hi",
        },
        {"kind": "llm", "provider": "openai", "input_tokens": 7, "output_tokens": 3, "finish_reason": "length"},
    ),
    "openinference": (
        "get_weather",
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "get_weather",
            "input.value": "{}",
            "output.value": "18C",
            "metadata": '{"session_id": "s1"}',
        },
        {
            "kind": "tool",
            "convention": "openinference",
            "tool": "get_weather",
            "tool_arguments": "{}",
            "tool_result": "18C",
            "conversation_id": "s1",
        },
    ),
    "langfuse": (
        "generation",
        {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-4o",
            "langfuse.observation.usage_details": '{"input": 7, "output": 3}',
            "langfuse.observation.level": "ERROR",
            "langfuse.session.id": "s1",
            "langfuse.observation.output": "hi",
        },
        {
            "kind": "llm",
            "response_model": "gpt-4o",
            "input_tokens": 7,
            "output_tokens": 3,
            "reported_status": "error",
            "conversation_id": "s1",
            "output_messages": "hi",
        },
    ),
    "vercel": (
        "ai.toolCall",
        {
            "ai.operationId": "ai.toolCall",
            "ai.toolCall.name": "get_weather",
            "ai.toolCall.id": "c1",
            "ai.toolCall.args": "{}",
            "ai.toolCall.result": '"18C"',
        },
        {"kind": "tool", "tool": "get_weather", "tool_call_id": "c1", "tool_arguments": "{}", "tool_result": '"18C"'},
    ),
    "openllmetry": (
        "get_weather.tool",
        {"traceloop.span.kind": "tool", "traceloop.entity.input": "{}", "traceloop.entity.output": "18C"},
        {"kind": "tool", "tool": "get_weather", "tool_arguments": "{}", "tool_result": "18C"},
    ),
    "pydantic_ai": (
        "running tool",
        {"gen_ai.tool.name": "get_weather", "tool_arguments": "{}", "tool_response": "18C"},
        {"kind": "tool", "tool": "get_weather", "tool_arguments": "{}", "tool_result": "18C"},
    ),
    "haystack": (
        "haystack.agent.step.tool",
        {
            "haystack.tool.name": "get_weather",
            "haystack.agent.step.tool.input": "{}",
            "haystack.agent.step.tool.output": "18C",
            "haystack.tool.error": True,
        },
        {
            "kind": "tool",
            "tool": "get_weather",
            "tool_arguments": "{}",
            "tool_result": "18C",
            "reported_status": "error",
        },
    ),
    "google_adk": (
        "execute_tool get_weather",
        {
            "gen_ai.operation.name": "execute_tool",
            "gcp.vertex.agent.tool_call_args": "{}",
            "gcp.vertex.agent.tool_response": "18C",
            "gcp.vertex.agent.session_id": "s1",
        },
        {"tool": "get_weather", "tool_arguments": "{}", "tool_result": "18C", "conversation_id": "s1"},
    ),
    "langsmith": (
        "ChatOpenAI",
        {
            "langsmith.span.kind": "llm",
            "langsmith.metadata.ls_provider": "openai",
            "langsmith.metadata.ls_model_name": "gpt-4o",
            "langsmith.metadata.usage_metadata": '{"input_tokens": 7, "output_tokens": 3}',
            "gen_ai.completion": "hi",
        },
        {"kind": "llm", "provider": "openai", "request_model": "gpt-4o", "input_tokens": 7, "output_messages": "hi"},
    ),
    "anthropic_sdk": (
        "messages",
        {"gen_ai.operation.name": "messages", "anthropic.message.stop_reason": "max_tokens"},
        {"kind": "llm", "finish_reason": "length"},
    ),
    "mcp": (
        "tools/call get_weather",
        {"mcp.method.name": "tools/call", "error.type": "tool_error"},
        {"kind": "tool", "tool": "get_weather", "reported_status": "error"},
    ),
    "autogen": (
        "autogen process",
        {"recipient_agent_type": "a", "message": '{"content": "hi"}'},
        {"kind": "chain", "input_messages": '{"content": "hi"}'},
    ),
    "mlflow": (
        "Completions",
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": '"gpt-4o"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 7, "output_tokens": 3}',
            "mlflow.spanOutputs": '"hi"',
        },
        {"kind": "llm", "response_model": "gpt-4o", "input_tokens": 7, "output_tokens": 3, "output_messages": '"hi"'},
    ),
    "genkit": (
        "openai/gpt-4o",
        {
            "genkit:metadata:subtype": "model",
            "genkit:name": "openai/gpt-4o",
            "genkit:output": "{}",
            "genkit:state": "error",
        },
        {"kind": "llm", "request_model": "gpt-4o", "output_messages": "{}", "reported_status": "error"},
    ),
    "langwatch": (
        "get_weather",
        {
            "langwatch.span.type": "tool",
            "langwatch.input": "{}",
            "langwatch.output": '{"type": "text", "value": "18C"}',
        },
        {"kind": "tool", "tool_arguments": "{}", "tool_result": '{"type": "text", "value": "18C"}'},
    ),
    "laminar": (
        "get_weather",
        {"lmnr.span.type": "TOOL", "lmnr.span.output": '"18C"', "lmnr.association.properties.session_id": "s1"},
        {"kind": "tool", "tool_result": '"18C"', "conversation_id": "s1"},
    ),
    "agentops": (
        "get_weather.tool",
        {"agentops.span.kind": "tool", "agentops.tool.input": "{}", "agentops.tool.output": "18C"},
        {"kind": "tool", "tool": "get_weather", "tool_arguments": "{}", "tool_result": "18C"},
    ),
    "mastra": (
        "invoke_agent a",
        {"mastra.span.type": "agent_run", "mastra.agent_run.output": '{"text": "hi"}', "mastra.metadata.userId": "u1"},
        {"kind": "agent", "output_messages": '{"text": "hi"}', "user_id": "u1"},
    ),
    "spring_ai": (
        "tool_call get_weather",
        {
            "gen_ai.operation.name": "framework",
            "spring.ai.kind": "tool_call",
            "spring.ai.tool.definition.name": "get_weather",
            "spring.ai.tool.call.result": "18C",
            "spring.ai.tool.definition.schema": "{}",
        },
        {"kind": "tool", "tool": "get_weather", "tool_result": "18C", "tool_definitions": "{}"},
    ),
    "livekit": (
        "function_tool",
        {"lk.function_tool.name": "get_weather", "lk.function_tool.output": "18C", "lk.function_tool.is_error": True},
        {"kind": "tool", "tool": "get_weather", "tool_result": "18C", "reported_status": "error"},
    ),
    "openlit": (
        "invoke_workflow a",
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.output": "hi"},
        {"kind": "workflow", "output_messages": "hi"},
    ),
    "langtrace": (
        "pinecone.query",
        {"langtrace.service.type": "vectordb", "langtrace.outputs": "[]"},
        {"kind": "retriever", "tool_result": "[]"},
    ),
    "claude_code": (
        "claude_code.tool",
        {"span.type": "tool", "tool_name": "Bash", "success": False},
        {"kind": "tool", "tool": "Bash", "reported_status": "error"},
    ),
    "langchain4j": ("langchain4j.tools.get_weather", {}, {"kind": "tool", "tool": "get_weather"}),
    "aws_sdk": ("chat nova", {"gen_ai.operation.name": "chat", "retry_attempts": 2}, {"retries": 2}),
    "http": (
        "GET",
        {"http.url": "http://a/b", "status": "503"},
        {"kind": "http", "http_status": 503},
    ),
}

UNKNOWN: Final[dict[str, Case]] = {
    "a kind of its own": (
        "step 4",
        {"acme.span_type": "TOOL", "acme.toolName": "get_weather", "acme.tool.args": "{}", "acme.tool.result": "18C"},
        {"kind": "tool", "convention": "", "tool": "get_weather", "tool_arguments": "{}", "tool_result": "18C"},
    ),
    "a model by its words": (
        "step 5",
        {
            "model": "gpt-4o",
            "prompt": "hi",
            "completion": "ho",
            "llm.promptTokens": 7,
            "tokens_out": 3,
            "stopReason": "MAX",
        },
        {
            "kind": "llm",
            "request_model": "gpt-4o",
            "input_messages": "hi",
            "output_messages": "ho",
            "input_tokens": 7,
            "output_tokens": 3,
            "finish_reason": "unknown",
            "provider": "openai",
        },
    ),
    "a tool by its name": (
        "tool get_weather",
        {"output": "18C", "error": "no such city"},
        {"kind": "tool", "tool": "get_weather", "tool_result": "18C", "reported_status": "error"},
    ),
    "an agent by its name": (
        "shop-agent run",
        {"question": "hi", "answer": "ho"},
        {"kind": "agent", "output_messages": "ho"},
    ),
    "text and calls apart": (
        "llm call",
        {"prompt": "hi", "completion": "", "tool_calls": '[{"name": "f"}]'},
        {"output_messages": '[{"role":"assistant","content":"","tool_calls":[{"name": "f"}]}]'},
    ),
    "nothing of agents": (
        "SELECT orders",
        {
            "db.system": "postgresql",
            "db.query.text": "SELECT",
            "db.response.status_code": "5",
            "input": "x",
            "success": False,
        },
        {"kind": "other", "input_messages": None, "tool_result": None, "reported_status": "unset"},
    ),
    "a message queue": ("orders publish", {"messaging.operation.name": "task", "output": "x"}, {"kind": "other"}),
    "a request": ("POST /tool", {"http.method": "POST", "error": "x", "output": "y"}, {"kind": "http"}),
}


def row(case: Case) -> dict[str, Any]:
    """The canonical row of a case's span."""
    name, attributes, _ = case
    (found,) = normalize_spans([spans_request([Span(1, name=name, attributes=attributes)])]).spans.to_pylist()
    return dict(found)


@pytest.mark.parametrize("case", (CASES | UNKNOWN).values(), ids=(CASES | UNKNOWN).keys())
def test_the_columns_are_filled(case: Case) -> None:
    found, (_, _, wanted) = row(case), case
    assert {column: found[column] for column in wanted} == wanted


def test_every_convention_is_tested() -> None:
    assert {convention.name for convention in FIELD_ORDER} == CASES.keys()


def test_a_guess_never_wins_over_a_convention() -> None:
    found = row(("chat", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "model": "other"}, {}))
    assert found["request_model"] == "gpt-4o"


NESTED: Final[dict[str, list[Span]]] = {
    "a framework around its client": [
        Span(
            1,
            0,
            "chat",
            {"openinference.span.kind": "LLM", "llm.token_count.prompt": 7, "llm.token_count.completion": 3},
        ),
        Span(
            2,
            1,
            "chat",
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3},
        ),
    ],
    "three deep": [
        Span(
            1,
            0,
            "model_generation",
            {"mastra.span.type": "model_generation", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3},
        ),
        Span(2, 1, "model_step", {"mastra.span.type": "model_step"}),
        Span(
            3,
            2,
            "chat",
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3},
        ),
    ],
    "an agent that sums up": [
        Span(1, 0, "agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 7}),
        Span(
            2,
            1,
            "chat",
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3},
        ),
    ],
}


@pytest.mark.parametrize("case", NESTED)
def test_tokens_are_counted_once_where_instrumentations_nest(case: str) -> None:
    trace = judged(*NESTED[case]).trace
    assert (trace["input_tokens"], trace["output_tokens"], trace["steps"]) == (7, 3, 1)
