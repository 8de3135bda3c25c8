"""Model calls, tools and agents in the words of several conventions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.telemetry import Span, Value, document

Attributes = Mapping[str, Value]
Message = Mapping[str, Any]

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OFFER = json.dumps([{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}])


def user(text: str) -> Message:
    """What somebody asks."""
    return {"role": "user", "content": text}


def says(text: str | None) -> Message:
    """What the model answers."""
    return {"role": "assistant", "content": text}


def asks(id: str, arguments: str = '{"city": "Paris"}', name: str = "get_weather") -> Message:
    """The model's wish to call a tool."""
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function", "function": function}]}


def answers(id: str, content: str | None) -> Message:
    """What the tool brought."""
    return {"role": "tool", "tool_call_id": id, "content": content}


def genai_agent(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """OpenTelemetry GenAI."""
    own: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    return Span(id, parent, "invoke_agent weather", own | dict(attributes or {}), **other)


def genai_llm(
    id: int, parent: int = 0, given: list[Message] | None = None, said: list[Message] | None = None,
    finish: str | None = "stop", attributes: Attributes | None = None, **other: Any,
) -> Span:  # fmt: skip
    """OpenTelemetry GenAI, with the messages of a chat."""
    own: dict[str, Value] = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
    }  # fmt: skip
    if finish is not None:
        own["gen_ai.response.finish_reasons"] = [finish]
    if given is not None:
        own["gen_ai.input.messages"] = document(*given)
    if said is not None:
        own["gen_ai.output.messages"] = document(*said)
    merged = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "chat gpt-4o", merged, **other)


def genai_tool(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """OpenTelemetry GenAI."""
    own: dict[str, Value] = {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": f"call_{id:06}",
        "gen_ai.tool.call.arguments": '{"city": "Paris"}', "gen_ai.tool.call.result": "18C and sunny",
    }  # fmt: skip
    merged = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "execute_tool get_weather", merged, **other)


def openinference_tool(id: int, parent: int = 0, result: Value = "18C and sunny", **other: Any) -> Span:
    """OpenInference; a result of None is not captured."""
    own: dict[str, Value] = {
        "openinference.span.kind": "TOOL", "tool.name": "get_weather", "input.value": '{"city": "Paris"}',
    }  # fmt: skip
    return Span(id, parent, "get_weather", own if result is None else own | {"output.value": result}, **other)


def openinference_llm(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """OpenInference, with flattened messages."""
    own: dict[str, Value] = {
        "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-2024-08-06", "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20, "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Weather?",
    }  # fmt: skip
    merged = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "ChatCompletion", merged, **other)


def vercel_tool(id: int, parent: int = 0, result: str = '"18C"', **other: Any) -> Span:
    """Vercel AI SDK before version 7."""
    own = {
        "ai.operationId": "ai.toolCall", "ai.toolCall.name": "get_weather", "ai.toolCall.id": f"call_{id:06}",
        "ai.toolCall.args": '{"city": "Paris"}', "ai.toolCall.result": result,
    }  # fmt: skip
    return Span(id, parent, "ai.toolCall", own, **other)


def vercel_llm(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """Vercel AI SDK before version 7."""
    own: dict[str, Value] = {
        "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "gpt-4o",
        "ai.response.model": "gpt-4o-2024-08-06",
        "ai.response.finishReason": "stop", "ai.response.text": "It is sunny.", "ai.usage.promptTokens": 100,
        "ai.usage.completionTokens": 20,
    }  # fmt: skip
    merged = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "ai.generateText.doGenerate", merged, **other)


def traceloop_tool(id: int, parent: int = 0, result: str = '{"output": "18C"}', **other: Any) -> Span:
    """OpenLLMetry."""
    own = {
        "traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather",
        "traceloop.entity.input": '{"args": [], "kwargs": {"city": "Paris"}}', "traceloop.entity.output": result,
    }  # fmt: skip
    return Span(id, parent, "get_weather.tool", own, **other)


def langfuse_tool(id: int, parent: int = 0, result: str = "18C", level: str = "DEFAULT", **other: Any) -> Span:
    """Langfuse."""
    own = {
        "langfuse.observation.type": "tool", "langfuse.observation.input": '{"city": "Paris"}',
        "langfuse.observation.output": result, "langfuse.observation.level": level,
    }  # fmt: skip
    return Span(id, parent, "get_weather", own, **other)


def plain_tool(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """Written by hand, in nobody's convention."""
    own: dict[str, Value] = {"input": '{"city": "Paris"}', "output": "18C"}
    return Span(id, parent, "tool get_weather", own | dict(attributes or {}), **other)


def plain_llm(id: int, parent: int = 0, attributes: Attributes | None = None, **other: Any) -> Span:
    """Written by hand, in nobody's convention."""
    own: dict[str, Value] = {
        "model": "gpt-4o", "prompt": '[{"role": "user", "content": "Weather?"}]', "completion": "It is sunny.",
        "prompt_tokens": 100, "completion_tokens": 20,
    }  # fmt: skip
    merged = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "llm call", merged, **other)


def request(id: int, parent: int, status: int, url: str = "http://weather/api", **other: Any) -> Span:
    """An HTTP client's span."""
    return Span(
        id, parent, "GET", {"http.request.method": "GET", "http.response.status_code": status, "url.full": url},
        error="" if status >= 400 else None, **other,
    )  # fmt: skip
