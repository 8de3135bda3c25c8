"""OpenInference: flattened message lists, `openinference.span.kind`, status OK on success."""

from __future__ import annotations

from collections.abc import Mapping

from dimwatch.simulate import wire
from dimwatch.simulate.conventions.base import (
    ERROR,
    OK,
    Convention,
    Event,
    Message,
    SpanText,
    as_text,
    dumps,
    exception,
    function,
    told,
)
from dimwatch.simulate.models import Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

_JSON = "application/json"


def _flatten(prefix: str, value: object, into: dict[str, wire.Value]) -> None:
    """Nested maps and lists as dotted keys; an empty text is left out, as the instrumentations do."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}", item, into)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _flatten(f"{prefix}.{number}", item, into)
    elif isinstance(value, str | int | float) and value != "":
        into[prefix] = value


def _span(name: str, attributes: wire.Attributes, failure: Failure | None, end_ns: int, *events: Event) -> SpanText:
    if failure is None:
        return SpanText(name, attributes, status=OK, events=events)
    message = f"{failure.type.rpartition('.')[2]}({failure.message!r})"
    return SpanText(
        name, attributes, status=ERROR, status_message=message, events=(*events, exception(failure, end_ns))
    )


class OpenInference(Convention):
    """As `openinference-instrumentation-*` writes it."""

    scope = ("openinference.instrumentation.langchain", "0.1.80")

    def root(self, run: Run) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "openinference.span.kind": "AGENT",
            "agent.name": run.agent.name,
            "session.id": run.conversation_id,
            "user.id": run.user_id,
            "input.value": run.question,
            "input.mime_type": "text/plain",
        }
        if run.answer:
            attributes["output.value"] = run.answer
            attributes["output.mime_type"] = "text/plain"
        return _span(run.agent.name, attributes, run.failure, run.end_ns)

    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        tools = [function(tool) for tool in run.offered]
        attributes: dict[str, wire.Value] = {
            "openinference.span.kind": "LLM",
            "llm.provider": step.model.provider,
            "llm.system": step.model.provider,
            "llm.model_name": step.answered if step.failure is None else step.model.name,
            "llm.invocation_parameters": dumps({"model": step.model.name, "temperature": 0.2, "tools": tools}),
            "session.id": run.conversation_id,
        }
        for number, tool in enumerate(tools):
            attributes[f"llm.tools.{number}.tool.json_schema"] = dumps(tool)
        _flatten("llm.input_messages", [{"message": entry} for entry in history], attributes)
        events = []
        if step.failure is None:
            _flatten("llm.output_messages", [{"message": _assistant(step)}], attributes)
            if not step.interrupted:
                attributes["llm.token_count.prompt"] = step.input_tokens
                attributes["llm.token_count.completion"] = step.output_tokens
                attributes["llm.token_count.total"] = step.input_tokens + step.output_tokens
                attributes["llm.token_count.prompt_details.cache_read"] = step.cached_tokens
                attributes["llm.finish_reason"] = step.finish
            if step.first_token_ns is not None:
                events.append(Event("First Token Stream Event", step.first_token_ns, {}))
        return _span("ChatModel", attributes, step.failure, step.end_ns, *events)

    def tool(self, run: Run, call: ToolCall) -> SpanText:
        attributes: dict[str, wire.Value] = {
            "openinference.span.kind": "TOOL",
            "tool.name": call.name,
            "tool.description": call.tool.description if call.tool else "",
            "input.value": call.arguments,
            "input.mime_type": _JSON,
        }
        if call.failure is None:
            attributes["output.value"] = as_text(call.result)
            attributes["output.mime_type"] = "text/plain" if isinstance(call.result, str) else _JSON
        return _span(call.name, attributes, call.failure, call.end_ns)

    def opening(self, run: Run) -> list[Message]:
        return [{"role": "system", "content": run.agent.system}, {"role": "user", "content": run.question}]

    def turn(self, step: ModelCall) -> list[Message]:
        return [
            _assistant(step),
            *(
                {"role": "tool", "content": told(call), "tool_call_id": call.call_id, "name": call.name}
                for call in step.tool_calls
            ),
        ]


def _assistant(step: ModelCall) -> Message:
    return {
        "role": "assistant",
        "content": step.text,
        "tool_calls": [
            {"tool_call": {"id": call.call_id, "function": {"name": call.name, "arguments": call.arguments}}}
            for call in step.tool_calls
        ],
    }
