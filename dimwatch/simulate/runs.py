"""What happened in one run of an agent, before any telemetry convention has put it into words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dimwatch.simulate.agents.base import Agent, Tool
from dimwatch.simulate.models import Failure, LanguageModel


@dataclass(slots=True)
class ToolCall:
    """A tool call that a model asked for. All times are nanoseconds since the epoch."""

    span_id: bytes
    call_id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it: it may be cut or break the schema."""
    tool: Tool | None
    """None if no tool of that name was offered."""
    executed: bool = True
    """Whether the framework ran it, so that a tool span exists."""
    result: object = None
    failure: Failure | None = None
    start_ns: int = 0
    end_ns: int = 0
    run: Run | None = None
    """The run of the agent that this call handed over to."""


@dataclass(slots=True)
class ModelCall:
    """One request to a language model."""

    span_id: bytes
    response_id: str
    model: LanguageModel
    answered: str
    start_ns: int
    end_ns: int
    first_token_ns: int | None
    """Null when the answer was not streamed."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    finish: str
    """stop, length, tool_calls, content_filter; empty if the stream broke off or the call failed."""
    text: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the stream ended before the answer did."""
        return not self.finish and self.failure is None


@dataclass(slots=True)
class Run:
    """One run: model calls in order, each with the tool calls that it asked for."""

    agent: Agent
    trace_id: bytes
    span_id: bytes
    conversation_id: str
    user_id: str
    question: str
    start_ns: int
    end_ns: int = 0
    steps: list[ModelCall] = field(default_factory=list)
    answer: str = ""
    failure: Failure | None = None
    offered: tuple[Tool, ...] = ()
    root_sent: bool = True
    faults: tuple[str, ...] = ()
    """What went wrong, in order: the truth that a detector should find."""
    detail: str = ""
    """Which variety of the first fault."""
    scenario: tuple[str, ...] = ()
    """The scheduled effects that touched this run."""

    def tool_calls(self) -> Iterator[ToolCall]:
        """Every tool call of this run, without those of agents that it called."""
        for step in self.steps:
            yield from step.tool_calls
