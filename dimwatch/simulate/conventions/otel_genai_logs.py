"""OpenTelemetry GenAI as of 2024: spans carry names and numbers, content is in log events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dimwatch.simulate import wire
from dimwatch.simulate.conventions.base import Emitted, Message, SpanText, log_record, told
from dimwatch.simulate.conventions.otel_genai import OtelGenAi, failed
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

_EVENTS: Final = {
    "system": "gen_ai.system.message",
    "user": "gen_ai.user.message",
    "assistant": "gen_ai.assistant.message",
    "tool": "gen_ai.tool.message",
}


class OtelGenAiLogs(OtelGenAi):
    """As `opentelemetry-instrumentation-openai-v2` writes it by default, under an agent span."""

    scope = ("opentelemetry.instrumentation.openai_v2", "2.4b0")

    def root(self, run: Run) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.system": run.steps[0].model.provider,
            "gen_ai.agent.name": run.agent.name,
            "gen_ai.conversation.id": run.conversation_id,
            "user.id": run.user_id,
        }
        status = failed(run.failure, attributes)
        return SpanText(f"invoke_agent {run.agent.name}", attributes, status=status[0], status_message=status[1])

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        attributes = self.model_attributes(run, step)
        attributes["gen_ai.system"] = attributes.pop("gen_ai.provider.name")
        attributes.pop("gen_ai.usage.cache_read.input_tokens", None)
        if step.interrupted:
            del attributes["gen_ai.response.finish_reasons"]
        return self.model_span(step, attributes)

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.call_id,
        }
        status = failed(call.failure, attributes)
        return SpanText(f"execute_tool {call.name}", attributes, status=status[0], status_message=status[1])

    def logs(self, run: Run, step: ModelCall, history: list[Message]) -> Iterator[Emitted]:
        system: wire.Attributes = {"gen_ai.system": step.model.provider}
        for entry in history:
            body = {key: value for key, value in entry.items() if key != "role"}
            name = _EVENTS[str(entry["role"])]
            yield log_record(name, run.trace_id, step.span_id, step.start_ns, body, system)
        if step.failure is None:
            choice = {
                "index": 0,
                "finish_reason": step.finish or "error",
                "message": _assistant(step),
            }
            yield log_record("gen_ai.choice", run.trace_id, step.span_id, step.end_ns, choice, system)

    def opening(self, run: Run) -> list[Message]:
        return [
            {"role": "system", "content": run.agent.system},
            {"role": "user", "content": run.question},
        ]

    def turn(self, step: ModelCall) -> list[Message]:
        return [
            _assistant(step),
            *({"role": "tool", "content": told(call), "id": call.call_id} for call in step.tool_calls),
        ]


def _assistant(step: ModelCall) -> Message:
    entry: dict[str, object] = {"role": "assistant"}
    if step.text:
        entry["content"] = step.text
    if step.tool_calls:
        entry["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in step.tool_calls
        ]
    return entry
