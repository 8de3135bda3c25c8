"""What a model call's payload says: tool calls, tool results, finish reasons, text, whatever its dialect.

Payloads are recognised by shape, not by framework: a call is something with a tool's name and arguments, a
result something that answers a call. Null means "not captured" and is never the same as empty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from detectors.traces import shapes
from detectors.traces.loose_json import CUT, is_loose
from detectors.traces.message_facts import MessageFacts, ToolCall, ToolResult
from detectors.traces.message_walk import UNREADABLE, Walk
from detectors.traces.usage import Usage

__all__ = ("NOTHING", "MessageFacts", "ToolCall", "ToolResult", "Usage", "read_messages")

NOTHING: Final = MessageFacts()
_MAX_DOCUMENT: Final = 8 << 20
_PLAIN_KEYS: Final = (
    "output_text", "text", "output", "response", "content", "answer", "completion", "raw", "result",
)  # fmt: skip


def read_messages(document: str) -> MessageFacts:
    """Read one attribute's value: messages, a whole request or response, or plain text. Never raises."""
    start = document.lstrip()
    if not start:
        return MessageFacts(text="")
    if shapes.is_redacted(document):
        return NOTHING
    if start[0] not in '{["' and not is_loose(start):
        return MessageFacts(text="" if start.rstrip() in ("null", "None") else document)
    walk = Walk()
    node = walk.parse(document, _MAX_DOCUMENT)
    if node is UNREADABLE:
        return MessageFacts(text=document, truncated=walk.truncated)
    walk.node(node, 0)
    return MessageFacts(
        calls=tuple(walk.calls),
        results=_results(walk),
        finish_reasons=tuple(walk.finish_reasons),
        models=tuple(walk.models),
        response_id=walk.response_id,
        usage=walk.usage,
        text=_text(walk, document, node),
        refusal=walk.refusal,
        tools=walk.tools,
        last_role=walk.last_role,
        turn_start=walk.turn_start,
        fresh_from=walk.fresh_from,
        truncated=walk.truncated,
    )


def _results(walk: Walk) -> tuple[ToolResult, ...]:
    """Decide the chat results that came without a content key.

    Where the rest of the document has content, it was empty: instrumentations that flatten messages into
    attributes drop what is empty. Where it has none, content is not captured.
    """
    if walk.prose_seen and not walk.truncated:
        for index in walk.without_content:
            walk.results[index] = replace(walk.results[index], content="")
    return tuple(walk.results)


def _text(walk: Walk, document: str, node: Any) -> str | None:
    if walk.texts:
        return ("" if walk.streamed else "\n").join(walk.texts)
    if walk.said is False:
        return None
    if walk.said:
        return ""
    if walk.last_role is None and not walk.calls and not walk.results:
        return _plain_text(document, node, cut=walk.truncated)
    if walk.last_role == shapes.ASSISTANT and walk.calls and walk.calls[-1].arguments is not None:
        return None if walk.truncated else ""  # its calls were captured, so its text would have been
    return None


def _plain_text(document: str, node: Any, *, cut: bool) -> str | None:
    """The text of a document without messages: prose, or structured output."""
    if type(node) is dict:
        for key in _PLAIN_KEYS:
            value = node.get(key)
            if value and type(value) is str:
                node = value
                break
    if type(node) is str:
        return None if shapes.is_redacted(node) else node.removesuffix(CUT)
    values = node.values() if type(node) is dict else node if type(node) is list else (node,)
    if not cut and not any(value or value is False or value == 0 for value in values):
        return ""  # {"replies": []}
    return document
