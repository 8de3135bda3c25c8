"""OpenTelemetry GenAI, current names: messages as JSON attributes, tool spans with arguments and result."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate import wire
from dimwatch.simulate.conventions.base import (
    CLIENT,
    ERROR,
    UNSET,
    Convention,
    Message,
    SpanText,
    as_text,
    dumps,
    parsed,
    told,
)
from dimwatch.simulate.models import NS, Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

PROVIDERS: Final = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini"}


def message(role: str, *parts: Message) -> Message:
    """A message as the semantic conventions have it."""
    return {"role": role, "parts": list(parts)}


def text_part(text: str) -> Message:
    """A part that is text."""
    return {"type": "text", "content": text}


def assistant(step: ModelCall) -> Message:
    """What the model answered."""
    parts = [text_part(step.text)] if step.text else []
    return message(
        "assistant",
        *parts,
        *(
            {"type": "tool_call", "id": call.call_id, "name": call.name, "arguments": parsed(call.arguments)}
            for call in step.tool_calls
        ),
    )


def finish_reasons(step: ModelCall) -> list[str]:
    """The finish reasons: `error` when the stream broke off."""
    return ["error" if step.interrupted else step.finish]


def failed(failure: Failure | None, attributes: dict[str, wire.Value]) -> tuple[int, str]:
    """Status code and message; adds `error.type`."""
    if failure is None:
        return UNSET, ""
    attributes["error.type"] = failure.type
    return ERROR, failure.message


class OtelGenAi(Convention):
    """As `opentelemetry-instrumentation-genai-*` 1.3 writes it."""

    scope = ("opentelemetry.instrumentation.genai.openai", "1.3b0")

    def root(self, run: Run) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": run.agent.name,
            "gen_ai.conversation.id": run.conversation_id,
            "user.id": run.user_id,
            "gen_ai.input.messages": dumps([message("user", text_part(run.question))]),
        }
        if run.answer:
            attributes["gen_ai.output.messages"] = dumps([message("assistant", text_part(run.answer))])
        status = failed(run.failure, attributes)
        return SpanText(f"invoke_agent {run.agent.name}", attributes, status=status[0], status_message=status[1])

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        attributes = self.model_attributes(run, step)
        attributes["gen_ai.input.messages"] = dumps(history)
        attributes["gen_ai.tool.definitions"] = dumps(
            [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                }
                for tool in run.offered
            ]
        )
        if step.failure is None and (step.text or step.tool_calls):
            answer = {**assistant(step), "finish_reason": finish_reasons(step)[0]}
            attributes["gen_ai.output.messages"] = dumps([answer])
        return self.model_span(step, attributes)

    def model_span(self, step: ModelCall, attributes: dict[str, wire.Value]) -> SpanText:
        """The span of a model call with these attributes."""
        status = failed(step.failure, attributes)
        return SpanText(f"chat {step.model.name}", attributes, CLIENT, status=status[0], status_message=status[1])

    def model_attributes(self, run: Run, step: ModelCall) -> dict[str, wire.Value]:
        """Everything about a model call but its content."""
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS[step.model.provider],
            "gen_ai.request.model": step.model.name,
            "gen_ai.conversation.id": run.conversation_id,
            "server.address": step.model.host,
            "server.port": 443,
            "gen_ai.request.temperature": 0.2,
        }
        if step.failure is not None:
            return attributes
        attributes["gen_ai.response.finish_reasons"] = finish_reasons(step)
        attributes["gen_ai.response.model"] = step.answered
        attributes["gen_ai.response.id"] = step.response_id
        if not step.interrupted:
            attributes["gen_ai.usage.input_tokens"] = step.input_tokens
            attributes["gen_ai.usage.output_tokens"] = step.output_tokens
            attributes["gen_ai.usage.cache_read.input_tokens"] = step.cached_tokens
        if step.first_token_ns is not None:
            attributes["gen_ai.request.stream"] = True
            attributes["gen_ai.response.time_to_first_chunk"] = (step.first_token_ns - step.start_ns) / NS
        return attributes

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.call_id,
            "gen_ai.tool.description": call.tool.description if call.tool else "",
            "gen_ai.agent.name": run.agent.name,
            "gen_ai.tool.call.arguments": call.arguments,
        }
        if call.failure is None:
            attributes["gen_ai.tool.call.result"] = as_text(call.result)
        status = failed(call.failure, attributes)
        return SpanText(f"execute_tool {call.name}", attributes, status=status[0], status_message=status[1])

    def opening(self, run: Run) -> list[Message]:
        return [
            message("system", text_part(run.agent.system)),
            message("user", text_part(run.question)),
        ]

    def turn(self, step: ModelCall) -> list[Message]:
        return [
            assistant(step),
            *(
                message("tool", {"type": "tool_call_response", "id": call.call_id, "response": told(call)})
                for call in step.tool_calls
            ),
        ]
