"""OpenLLMetry (Traceloop): a workflow above the agent, `traceloop.*` kinds beside GenAI names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dimwatch.simulate import wire
from dimwatch.simulate.conventions.base import (
    CLIENT,
    ERROR,
    OK,
    Convention,
    Emitted,
    Event,
    Message,
    SpanText,
    as_text,
    dumps,
    exception,
    span,
    told,
)
from dimwatch.simulate.conventions.otel_genai import assistant, message, text_part
from dimwatch.simulate.models import Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

_PROVIDERS: Final = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gen_ai"}
_FINISH: Final = {"tool_calls": "tool_call"}


def _span(
    name: str, attributes: dict[str, wire.Value], failure: Failure | None, end_ns: int, kind: int = 1
) -> SpanText:
    if failure is None:
        return SpanText(name, attributes, kind, OK)
    attributes["error.type"] = failure.type.rpartition(".")[2]
    return SpanText(name, attributes, kind, ERROR, failure.message, (exception(failure, end_ns),))


class OpenLlmetry(Convention):
    """As `opentelemetry-instrumentation-openai` 0.62, whose model calls these are, and its siblings write it."""

    scope = ("opentelemetry.instrumentation.openai.v1", "0.62.4")

    def emit(self, run: Run) -> Iterator[Emitted]:
        # The agent span is the run's; the workflow above it takes its id from it.
        workflow = bytes(byte ^ 0x5A for byte in run.span_id)
        yield from self._walk(run, workflow)
        if run.root_sent:
            text = _span(
                f"{run.agent.name}.workflow",
                {
                    "traceloop.span.kind": "workflow",
                    "traceloop.workflow.name": run.agent.name,
                    "traceloop.entity.name": run.agent.name,
                },
                None,
                run.end_ns,
            )
            yield span(run.trace_id, workflow, b"", run.start_ns - 1_000, run.end_ns + 1_000, text)

    def root(self, run: Run) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "traceloop.span.kind": "agent",
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": run.agent.name,
            "traceloop.entity.name": run.agent.name,
            "traceloop.workflow.name": run.agent.name,
            "traceloop.association.properties.session_id": run.conversation_id,
            "traceloop.association.properties.user_id": run.user_id,
            "traceloop.entity.input": dumps({"inputs": {"question": run.question}}),
        }
        if run.answer:
            attributes["traceloop.entity.output"] = dumps({"outputs": run.answer})
        return _span(f"{run.agent.name}.agent", attributes, run.failure, run.end_ns)

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS[step.model.provider],
            "gen_ai.request.model": step.model.name,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.is_streaming": step.first_token_ns is not None,
            "traceloop.association.properties.session_id": run.conversation_id,
            "gen_ai.input.messages": dumps(history),
            "gen_ai.tool.definitions": dumps(
                [
                    {
                        "type": "function",
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    }
                    for tool in run.offered
                ]
            ),
        }
        if step.failure is not None:
            return _span("openai.chat", attributes, step.failure, step.end_ns, CLIENT)
        attributes["gen_ai.response.model"] = step.answered
        attributes["gen_ai.response.id"] = step.response_id
        if step.interrupted:
            chunks = (step.first_token_ns or step.end_ns, step.end_ns)
            events = tuple(Event("gen_ai.content.completion.chunk", time, {}) for time in chunks)
            return SpanText("openai.chat", attributes, CLIENT, OK, events=events)
        finish = _FINISH.get(step.finish, step.finish)
        attributes["gen_ai.response.finish_reasons"] = [finish]
        attributes["gen_ai.usage.input_tokens"] = step.input_tokens
        attributes["gen_ai.usage.output_tokens"] = step.output_tokens
        attributes["gen_ai.usage.total_tokens"] = step.input_tokens + step.output_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = step.cached_tokens
        if step.text or step.tool_calls:
            attributes["gen_ai.output.messages"] = dumps([{**assistant(step), "finish_reason": finish}])
        return _span("openai.chat", attributes, None, step.end_ns, CLIENT)

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": call.name,
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": call.arguments,
        }
        if call.failure is None:
            attributes["gen_ai.tool.call.result"] = as_text(call.result)
        return _span(f"{call.name}.tool", attributes, call.failure, call.end_ns)

    def opening(self, run: Run) -> list[Message]:
        return [message("system", text_part(run.agent.system)), message("user", text_part(run.question))]

    def turn(self, step: ModelCall) -> list[Message]:
        return [
            assistant(step),
            *(
                message("tool", {"type": "tool_call_response", "id": call.call_id, "response": told(call)})
                for call in step.tool_calls
            ),
        ]
