"""What all telemetry conventions share: walking a run, and turning what a convention says into spans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from dimwatch.simulate import wire
from dimwatch.simulate.agents.base import Agent, Tool
from dimwatch.simulate.models import Failure
from dimwatch.simulate.runs import ModelCall, Run, ToolCall

Signal = Literal["traces", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs")
Message = Mapping[str, object]

UNSET: Final = 0
OK: Final = 1
ERROR: Final = 2
INTERNAL: Final = 1
CLIENT: Final = 3

_SPAN_NAME: Final = b"\x2a"
_EVENT: Final = b"\x5a"
_STATUS: Final = b"\x7a"


@dataclass(frozen=True, slots=True)
class Emitted:
    """A span or log record, serialised, at the time the SDK hands it to the exporter."""

    time_ns: int
    signal: Signal
    payload: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A span event."""

    name: str
    time_ns: int
    attributes: wire.Attributes


@dataclass(frozen=True, slots=True)
class SpanText:
    """What a convention says about one span; identity and times come from the run."""

    name: str
    attributes: wire.Attributes
    kind: int = INTERNAL
    status: int = UNSET
    status_message: str = ""
    events: Sequence[Event] = ()


def dumps(value: object) -> str:
    """Compact JSON."""
    return orjson.dumps(value).decode()


def as_text(result: object) -> str:
    """A tool result as the model reads it: text as it is, the rest as JSON."""
    return result if isinstance(result, str) else dumps(result)


def told(call: ToolCall) -> str:
    """What the model is told that the tool call came to."""
    return f"Error: {call.failure.message}" if call.failure else as_text(call.result)


def parsed(arguments: str) -> object:
    """Arguments as an object, or the text itself if it is no JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def function(tool: Tool) -> Message:
    """A tool as OpenAI's API describes it."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def exception(failure: Failure, time_ns: int) -> Event:
    """The event that `record_exception` writes."""
    return Event(
        "exception",
        time_ns,
        {
            "exception.type": failure.type,
            "exception.message": failure.message,
            "exception.stacktrace": f"Traceback (most recent call last):\n{failure.type}: {failure.message}\n",
            "exception.escaped": "False",
        },
    )


class Convention(ABC):
    """One way to describe runs in OTLP. Subclasses say what a root, a model call and a tool call look like."""

    scope: tuple[str, str]
    sdk_language: str = "python"

    def resource(self, agent: Agent) -> bytes:
        """The attributes of the resource, serialised."""
        return wire.attributes(
            wire.RESOURCE_ATTRIBUTES,
            {
                "service.name": agent.service,
                "service.version": agent.release,
                "deployment.environment.name": "production",
                "telemetry.sdk.language": self.sdk_language,
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.45.2",
            },
        )

    def emit(self, run: Run) -> Iterator[Emitted]:
        """All spans and log records of a run, children before parents."""
        yield from self._walk(run, b"")

    def _walk(self, run: Run, parent: bytes) -> Iterator[Emitted]:
        history = self.opening(run)
        for step in run.steps:
            text = self.model(run, step, history)
            yield span(run.trace_id, step.span_id, run.span_id, step.start_ns, step.end_ns, text)
            yield from self.logs(run, step, history)
            for call in step.tool_calls:
                if call.run is not None:
                    yield from self._walk(call.run, call.span_id)
                if call.executed:
                    text = self.tool(run, call)
                    yield span(run.trace_id, call.span_id, run.span_id, call.start_ns, call.end_ns, text)
            if step.failure is None:
                history = [*history, *self.turn(step)]
        if run.root_sent:
            yield span(run.trace_id, run.span_id, parent, run.start_ns, run.end_ns, self.root(run))

    def logs(self, run: Run, step: ModelCall, history: list[Message]) -> Iterator[Emitted]:
        """Log records that belong to a model call: most conventions have none."""
        return iter(())

    @abstractmethod
    def root(self, run: Run) -> SpanText:
        """The span of the whole run."""

    @abstractmethod
    def model(self, run: Run, step: ModelCall, history: list[Message]) -> SpanText:
        """The span of a model call that was sent `history`."""

    @abstractmethod
    def tool(self, run: Run, call: ToolCall) -> SpanText:
        """The span of a tool call."""

    @abstractmethod
    def opening(self, run: Run) -> list[Message]:
        """The messages of the first model call, in this convention's form."""

    @abstractmethod
    def turn(self, step: ModelCall) -> list[Message]:
        """What a model call and its tool results add to the messages."""


def span(trace_id: bytes, span_id: bytes, parent: bytes, start_ns: int, end_ns: int, text: SpanText) -> Emitted:
    parts = [
        b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x22\x08" + parent if parent else b"",
        wire.field(_SPAN_NAME, text.name.encode()), b"\x30", bytes([text.kind]),
        wire.fixed64(b"\x39", start_ns), wire.fixed64(b"\x41", end_ns),
        wire.attributes(wire.SPAN_ATTRIBUTES, text.attributes),
    ]  # fmt: skip
    for event in text.events:
        body = (
            wire.fixed64(b"\x09", event.time_ns)
            + wire.field(b"\x12", event.name.encode())
            + wire.attributes(wire.EVENT_ATTRIBUTES, event.attributes)
        )
        parts.append(wire.field(_EVENT, body))
    if text.status:
        message = wire.field(b"\x12", text.status_message.encode()) if text.status_message else b""
        parts.append(wire.field(_STATUS, message + b"\x18" + bytes([text.status])))
    return Emitted(end_ns, "traces", b"".join(parts))


def log_record(
    event_name: str, trace_id: bytes, span_id: bytes, time_ns: int, body: object, attributes: wire.Attributes
) -> Emitted:
    """A log record that belongs to a span."""
    payload = b"".join(
        (
            wire.fixed64(b"\x09", time_ns), b"\x10\x09",  # severity INFO
            wire.field(b"\x2a", wire.any_value(body)),
            wire.attributes(wire.LOG_ATTRIBUTES, attributes),
            b"\x4a\x10", trace_id, b"\x52\x08", span_id, wire.fixed64(b"\x59", time_ns),
            wire.field(b"\x62", event_name.encode()),
        )
    )  # fmt: skip
    return Emitted(time_ns, "logs", payload)
