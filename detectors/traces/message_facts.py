"""The facts that one payload of a model call yields."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.traces.usage import Usage


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asked for."""

    id: str | None
    name: str
    arguments: str | None
    """JSON text as the model wrote it, valid or not; None when it was not captured."""
    position: int
    """Order among the calls and results of the document."""
    by_provider: bool = False
    """The provider runs this tool itself (web search, remote MCP): no tool span will follow."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model was given back for a call."""

    call_id: str | None
    name: str | None
    content: str | None
    """Text or JSON text; "" for empty; None when it was not captured."""
    is_error: bool | None
    """What the payload says about itself; None when it says nothing."""
    position: int


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """Everything that one document says."""

    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    finish_reasons: tuple[str, ...] = ()
    """As the provider wrote them, in order."""
    models: tuple[str, ...] = ()
    response_id: str | None = None
    usage: Usage | None = None
    text: str | None = None
    """Visible text of the last turn of the assistant; "" if it said nothing, None if that was not captured."""
    refusal: bool = False
    tools: str | None = None
    """JSON text of the tools offered, for `read_tools`."""
    last_role: str | None = None
    """user, assistant, system, tool, or None when the document holds no messages."""
    turn_start: int = 0
    """Calls and results from this position on belong to the current turn: they follow the user's last message."""
    fresh_from: int = 0
    """Results from this position on are new: they follow the assistant's last message."""
    truncated: bool = False
    """The document was cut, or too large to be read whole: nothing follows from what is not there."""
