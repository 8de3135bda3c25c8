"""Vercel AI SDK 5: `ai.*` attributes, totals on the outer span, one more `gen_ai.*` set on the inner."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate import wire
from dimwatch.simulate.agents.base import Agent
from dimwatch.simulate.conventions.base import (
    ERROR,
    Convention,
    Event,
    Message,
    SpanText,
    dumps,
    exception,
    parsed,
    told,
)
from dimwatch.simulate.models import Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

_PROVIDERS: Final = {
    "openai": "openai.chat",
    "anthropic": "anthropic.messages",
    "google": "google.generative-ai",
}
_FINISH: Final = {"tool_calls": "tool-calls", "content_filter": "content-filter", "": "unknown"}


def _error_class(failure: Failure) -> Failure:
    """JavaScript's classes instead of Python's."""
    name = "AI_APICallError" if failure.http_status else "TimeoutError"
    return Failure(name, failure.message, failure.http_status)


def _span(name: str, attributes: wire.Attributes, failure: Failure | None, end_ns: int, *events: Event) -> SpanText:
    if failure is None:
        return SpanText(name, attributes, events=events)
    return SpanText(name, attributes, 1, ERROR, failure.message, (*events, exception(failure, end_ns)))


def _tool_calls(step: ModelCall) -> list[Message]:
    return [
        {"toolCallId": call.call_id, "toolName": call.name, "input": parsed(call.arguments)} for call in step.tool_calls
    ]


class VercelAi(Convention):
    """As `ai` 5 writes it; every agent streams."""

    scope = ("ai", "")
    sdk_language = "nodejs"

    def resource(self, agent: Agent) -> bytes:
        return wire.attributes(
            wire.RESOURCE_ATTRIBUTES,
            {
                "service.name": agent.service,
                "service.version": agent.release,
                "deployment.environment.name": "production",
                "telemetry.sdk.language": "nodejs",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "2.12.0",
            },
        )

    def root(self, run: Run) -> SpanText:
        first = run.steps[0]
        attributes = self._common(run, "ai.streamText", first)
        attributes["ai.prompt"] = dumps({"system": run.agent.system, "prompt": run.question})
        if run.failure is not None:
            return _span("ai.streamText", attributes, _error_class(run.failure), run.end_ns)
        last = run.steps[-1]
        answered = [step for step in run.steps if step.failure is None and not step.interrupted]
        attributes["ai.response.finishReason"] = _FINISH.get(last.finish, last.finish)
        attributes["ai.response.text"] = run.answer
        attributes["ai.usage.inputTokens"] = sum(step.input_tokens for step in answered)
        attributes["ai.usage.outputTokens"] = sum(step.output_tokens for step in answered)
        return _span("ai.streamText", attributes, None, run.end_ns)

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        name = "ai.streamText.doStream"
        attributes = self._common(run, name, step)
        attributes["ai.prompt.messages"] = dumps(history)
        attributes["ai.prompt.tools"] = [
            dumps(
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "inputSchema": tool.parameters,
                }
            )
            for tool in run.offered
        ]
        attributes["ai.prompt.toolChoice"] = '{"type":"auto"}'
        attributes["gen_ai.system"] = _PROVIDERS[step.model.provider]
        attributes["gen_ai.request.model"] = step.model.name
        if step.failure is not None:
            return _span(name, attributes, _error_class(step.failure), step.end_ns)
        finish = _FINISH.get(step.finish, step.finish)
        first_ms = ((step.first_token_ns or step.end_ns) - step.start_ns) / 1e6
        attributes |= {
            "ai.response.msToFirstChunk": first_ms,
            "ai.response.msToFinish": (step.end_ns - step.start_ns) / 1e6,
            "ai.response.finishReason": finish,
            "ai.response.text": step.text,
            "ai.response.id": step.response_id,
            "ai.response.model": step.answered,
            "gen_ai.response.finish_reasons": [finish],
            "gen_ai.response.id": step.response_id,
            "gen_ai.response.model": step.answered,
        }
        if step.tool_calls:
            attributes["ai.response.toolCalls"] = dumps(_tool_calls(step))
        if not step.interrupted:
            attributes |= {
                "ai.usage.inputTokens": step.input_tokens,
                "ai.usage.outputTokens": step.output_tokens,
                "ai.usage.totalTokens": step.input_tokens + step.output_tokens,
                "ai.usage.cachedInputTokens": step.cached_tokens,
                "gen_ai.usage.input_tokens": step.input_tokens,
                "gen_ai.usage.output_tokens": step.output_tokens,
            }
        chunk = Event(
            "ai.stream.firstChunk", step.first_token_ns or step.end_ns, {"ai.response.msToFirstChunk": first_ms}
        )
        return _span(name, attributes, None, step.end_ns, chunk, Event("ai.stream.finish", step.end_ns, {}))

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "operation.name": f"ai.toolCall {run.agent.name}",
            "resource.name": run.agent.name,
            "ai.operationId": "ai.toolCall",
            "ai.telemetry.functionId": run.agent.name,
            "ai.telemetry.metadata.userId": run.user_id,
            "ai.telemetry.metadata.sessionId": run.conversation_id,
            "ai.toolCall.name": call.name,
            "ai.toolCall.id": call.call_id,
            "ai.toolCall.args": call.arguments,
        }
        if call.failure is not None:
            failure = Failure("Error", call.failure.message, call.failure.http_status)
            return _span("ai.toolCall", attributes, failure, call.end_ns)
        attributes["ai.toolCall.result"] = dumps(call.result)
        return _span("ai.toolCall", attributes, None, call.end_ns)

    def opening(self, run: Run) -> list[Message]:
        return [
            {"role": "system", "content": run.agent.system},
            {"role": "user", "content": [{"type": "text", "text": run.question}]},
        ]

    def turn(self, step: ModelCall) -> list[Message]:
        calls: Message = {
            "role": "assistant",
            "content": [{"type": "tool-call", **call} for call in _tool_calls(step)],
        }
        results: Message = {"role": "tool", "content": [_result(call) for call in step.tool_calls]}
        return [calls, results] if step.tool_calls else [{"role": "assistant", "content": step.text}]

    def _common(self, run: Run, operation: str, step: ModelCall) -> dict[str, wire.Value]:
        return {
            "operation.name": f"{operation} {run.agent.name}",
            "resource.name": run.agent.name,
            "ai.operationId": operation,
            "ai.telemetry.functionId": run.agent.name,
            "ai.model.provider": _PROVIDERS[step.model.provider],
            "ai.model.id": step.model.name,
            "ai.settings.maxRetries": 2,
            "ai.telemetry.metadata.userId": run.user_id,
            "ai.telemetry.metadata.sessionId": run.conversation_id,
        }


def _result(call: ToolCall) -> Message:
    if call.failure is not None:
        output: Message = {"type": "error-text", "value": told(call)}
    elif isinstance(call.result, str):
        output = {"type": "text", "value": call.result}
    else:
        output = {"type": "json", "value": call.result}
    return {"type": "tool-result", "toolCallId": call.call_id, "toolName": call.name, "output": output}
