"""Gathers what a payload says, as the walk over it comes upon it."""

from __future__ import annotations

from typing import Any, Final

from detectors.traces import shapes
from detectors.traces.loose_json import CUT
from detectors.traces.message_facts import ToolCall, ToolResult
from detectors.traces.message_parts import has_result, is_call, is_result, json_text, read_call, read_result
from detectors.traces.shapes import ASSISTANT, TOOL
from detectors.traces.usage import Usage, read_usage

_LONG_ID: Final = 8
"""Ids shorter than this (`call_0`, `1`) are used again in later turns by some servers."""

_FINISH_KEYS: Final = frozenset(shapes.FINISH_KEYS)
_MODEL_KEYS: Final = frozenset(shapes.MODEL_KEYS)
_USAGE_KEYS: Final = frozenset(shapes.USAGE_KEYS)
_DETAIL_KEYS: Final = frozenset(("incomplete_details", "promptFeedback", "prompt_feedback"))
TURN_KEYS: Final = frozenset((
    *shapes.FINISH_KEYS, *shapes.MODEL_KEYS, *shapes.USAGE_KEYS, *_DETAIL_KEYS, "object", "prompt_eval_count",
    "responseId", "response_id",
))  # fmt: skip


class Findings:
    """What has been found so far; `read_messages` turns it into facts."""

    response_id: str | None = None
    usage: Usage | None = None
    said: bool | None = None
    """Whether the text of the assistant's current turn was captured; None: no sign of it."""
    prose_seen = False
    """Some message has text, so content is captured."""
    streamed = False
    refusal = False
    tools: str | None = None
    last_role: str | None = None
    truncated = False
    turn_start = 0
    """Position of the first call or result after what the user said last."""
    fresh_from = 0
    """Position of the first result after what the assistant said last."""
    answers = 0
    """Results so far, repeated ones included."""
    messages_open = 0
    """How deep in messages the walk is."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.results: list[ToolResult] = []
        self.without_content: list[int] = []  # indices of chat results that have no content key
        self.finish_reasons: list[str] = []
        self.models: list[str] = []
        self._of_messages: list[tuple[list[str], str]] = []  # reasons and models that messages hold, not the response
        self.texts: list[str] = []  # of the assistant's current turn
        self._open: set[str] = set()  # ids of calls without a result yet
        self._closed: set[str] = set()

    def enter(self, role: str) -> None:
        if role != ASSISTANT:
            self.texts.clear()
            self.said = None
        else:
            self.fresh_from = len(self.calls) + len(self.results)
        self.last_role = role

    def begin_turn(self, *, after_answer: bool) -> None:
        """The user has spoken: calls, finish reasons and models so far are those of earlier turns."""
        position = len(self.calls) + len(self.results)
        if after_answer:
            self.fresh_from = position
        if self.results and self.results[-1].position >= self.fresh_from:
            return  # a reminder between a tool's result and the answer
        self.turn_start = position
        for gathered, word in self._of_messages:
            if word in gathered:
                gathered.remove(word)
        self._of_messages.clear()

    def prose(self, text: str, role: str) -> None:
        if role == ASSISTANT:
            self.say(text)
        elif text and text != CUT and not shapes.is_redacted(text):
            self.prose_seen = True

    def say(self, text: str) -> None:
        cut = text.endswith(CUT)
        text = text.rstrip(CUT)
        if shapes.is_redacted(text):
            self.said = False
        elif text:
            if self.streamed or self.texts[-1:] != [text]:  # some repeat the last message
                self.texts.append(text)
            self.said = self.prose_seen = True
        elif not cut and self.said is None:
            self.said = True

    def call(self, node: dict[str, Any], word: str) -> bool:
        call = read_call(node, word)
        if call is None:
            return False
        id_ = call.id
        if self.truncated and self.calls and self.calls[-1].name == call.name:
            if id_ is None and CUT in node:
                return True  # cut before its id, and stated before in another form
            if id_ is not None and self.calls[-1].id is None:
                self.calls.pop()  # the other way round
        if id_ is None or not (id_ in self._open or (id_ in self._closed and len(id_) >= _LONG_ID)):
            position = len(self.calls) + len(self.results)
            if not has_result(call.source):
                self.fresh_from = position
            self.calls.append(ToolCall(id_, call.name, call.arguments, position, call.by_provider))
            if id_ is not None:
                self._open.add(id_)
                self._closed.discard(id_)
        if self.last_role is None:
            self.last_role = ASSISTANT
        if has_result(call.source):
            self.result({**call.source, "name": call.name, "call_id": id_}, None)
        return True

    def result(self, node: dict[str, Any], word: str | None, *, chat: bool = False) -> None:
        result = read_result(node, word, chat=chat)
        id_ = result.call_id
        self.answers += 1
        if id_ is not None:
            if id_ in self._closed and len(id_) >= _LONG_ID:
                return
            self._open.discard(id_)
            self._closed.add(id_)
        if chat and not result.stated:
            self.without_content.append(len(self.results))
        position = len(self.calls) + len(self.results)
        self.results.append(ToolResult(id_, result.name, result.content, result.is_error, position))
        if self.last_role is None:
            self.last_role = TOOL

    def facts_of_turn(self, node: dict[str, Any]) -> None:
        for key, value in node.items():
            if key not in TURN_KEYS or not value:
                continue
            if key in _FINISH_KEYS:
                for reason in value if type(value) is list else (value,):
                    self.finish(reason)
            elif key in _MODEL_KEYS:
                if type(value) is str and not value.endswith(CUT) and value not in self.models:
                    self._gather(self.models, value)
            elif key in _USAGE_KEYS:
                if type(value) is dict:
                    self.usage = read_usage(value) or self.usage
            elif key in _DETAIL_KEYS:
                if type(value) is dict:
                    self.finish(shapes.first_text(value, ("reason", "blockReason", "block_reason")))
            elif key == "prompt_eval_count":  # Ollama
                self.usage = read_usage(node) or self.usage
            elif key == "object":
                if value == "response":  # OpenAI's Responses
                    self.said = True if type(node.get("output")) is list else self.said
                    self.finish(node.get("status"))
            elif self.response_id is None and type(value) is str:
                self.response_id = value

    def finish(self, reason: Any) -> None:
        if reason and type(reason) is str and not reason.endswith(CUT) and self.finish_reasons[-1:] != [reason]:
            self._gather(self.finish_reasons, reason)

    def _gather(self, words: list[str], word: str) -> None:
        words.append(word)
        if self.messages_open:
            self._of_messages.append((words, word))

    def offered(self, value: Any) -> bool:
        """Keep the tools that were offered; False when the list holds calls or results instead."""
        first = value[0] if type(value) is list and value else value
        if type(first) is dict and (is_result(first) or is_call(first)):
            return False
        if value and self.tools is None:
            text = json_text(value)
            self.tools = None if CUT in text else text
        return True
