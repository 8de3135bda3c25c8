"""Langfuse SDK: everything as `langfuse.observation.*`, mostly JSON in attributes; no finish reason."""

from __future__ import annotations

from datetime import UTC, datetime

from dimwatch.simulate import wire
from dimwatch.simulate.conventions.base import (
    ERROR,
    Convention,
    Message,
    SpanText,
    as_text,
    dumps,
    function,
    told,
)
from dimwatch.simulate.models import NS, Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall


def _span(name: str, attributes: dict[str, wire.Value], failure: Failure | None) -> SpanText:
    if failure is None:
        return SpanText(name, attributes)
    attributes["langfuse.observation.level"] = "ERROR"
    attributes["langfuse.observation.status_message"] = failure.message
    return SpanText(name, attributes, status=ERROR, status_message=failure.message)


class Langfuse(Convention):
    """As the Langfuse Python SDK 5 with its OpenAI wrapper writes it."""

    scope = ("langfuse-sdk", "5.0.4")

    def root(self, run: Run) -> SpanText:
        attributes = self._common(run, "agent")
        attributes["langfuse.internal.is_app_root"] = True
        attributes["langfuse.observation.input"] = dumps({"args": [run.question], "kwargs": {}})
        if run.answer:
            attributes["langfuse.observation.output"] = run.answer
        return _span(run.agent.name, attributes, run.failure)

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        attributes = self._common(run, "generation")
        attributes["langfuse.observation.input"] = dumps(
            {"tools": [function(tool) for tool in run.offered], "messages": history}
        )
        attributes["langfuse.observation.model.parameters"] = dumps({"temperature": 0.2, "max_tokens": "Infinity"})
        if step.failure is not None:
            attributes["langfuse.observation.model.name"] = step.model.name
            return _span("OpenAI-generation", attributes, step.failure)
        attributes["langfuse.observation.model.name"] = step.answered
        if step.first_token_ns is not None:
            attributes["langfuse.observation.completion_start_time"] = dumps(_iso(step.first_token_ns))
        if step.interrupted:
            attributes["langfuse.observation.output"] = step.text
            return _span("OpenAI-generation", attributes, None)
        attributes["langfuse.observation.output"] = dumps(_assistant(step))
        attributes["langfuse.observation.usage_details"] = dumps(
            {
                "prompt_tokens": step.input_tokens,
                "completion_tokens": step.output_tokens,
                "total_tokens": step.input_tokens + step.output_tokens,
                "prompt_tokens_details": {"cached_tokens": step.cached_tokens},
            }
        )
        return _span("OpenAI-generation", attributes, None)

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes = self._common(run, "tool")
        attributes["langfuse.observation.input"] = f'{{"args": [], "kwargs": {call.arguments}}}'
        if call.failure is None and call.result is not None:
            attributes["langfuse.observation.output"] = as_text(call.result)
        return _span(call.name, attributes, call.failure)

    def opening(self, run: Run) -> list[Message]:
        return [{"role": "system", "content": run.agent.system}, {"role": "user", "content": run.question}]

    def turn(self, step: ModelCall) -> list[Message]:
        return [
            _assistant(step),
            *({"role": "tool", "tool_call_id": call.call_id, "content": told(call)} for call in step.tool_calls),
        ]

    def _common(self, run: Run, kind: str) -> dict[str, wire.Value]:
        return {
            "langfuse.observation.type": kind,
            "user.id": run.user_id,
            "session.id": run.conversation_id,
            "langfuse.release": run.agent.release,
        }


def _assistant(step: ModelCall) -> Message:
    if not step.tool_calls:
        return {"role": "assistant", "content": step.text}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in step.tool_calls
        ],
    }


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / NS, UTC).isoformat().replace("+00:00", "Z")
