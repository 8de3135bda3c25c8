"""One pass over one payload: finds the messages, parts, calls and results in it, wherever they are nested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson

from detectors.traces import shapes
from detectors.traces.loose_json import CLASS, CUT, parse_loose
from detectors.traces.message_findings import TURN_KEYS, Findings
from detectors.traces.message_parts import (
    block_text,
    is_call,
    is_call_of_function,
    is_result,
    text_of,
    without_prefixes,
)
from detectors.traces.shapes import ASSISTANT, TOOL, USER

UNREADABLE: Final = object()
_ABSENT: Final = object()

_MAX_NESTED: Final = 1 << 20
_MAX_NODES: Final = 20_000
_MAX_DEPTH: Final = 40
_MAX_JSON_LEVELS: Final = 6
_FINISH: Final = frozenset(("finish_reason", "stop_reason", "finishReason", "stopReason"))
_RAW_KEYS: Final = ("raw", "raw_response", "rawResponse", "original_response")
_CLASS_NAME: Final = 48

_SKIPPED: Final = frozenset((
    "metadata", "headers", "logprobs", "embedding", "embeddings", "input_schema", "inputSchema", "parameters",
    "properties", "schema", "json_schema", "response_format", "safety_ratings", "safetyRatings", "annotations",
    "tool_call_chunks", "extra_body", *shapes.USAGE_KEYS,
))  # fmt: skip
_MESSAGE_MARKS: Final = frozenset((
    "role", "content", "parts", "data", "text", "responses", "message", "textContent", *shapes.CALL_LIST_KEYS,
))  # fmt: skip
_RESULT_LISTS: Final = frozenset(shapes.RESULT_LIST_KEYS)
_CALL_KEYS: Final = ("functionCall", "function_call", "toolUse", "tool_call", "toolCall", "toolRequest", "tool_request")
_RESULT_WRAPPERS: Final = (
    "functionResponse", "function_response", "toolResult", "tool_call_result", "tool_response", "toolResponse",
)  # fmt: skip
_INNER_TURN: Final = (
    "additional_kwargs", "response_metadata", "meta", "message", "update", "generation_info",
)  # fmt: skip
_RESPONSE_MARKS: Final = frozenset((
    "choices", "candidates", "object", "stop_reason", "usage", "system_fingerprint",
))  # fmt: skip
_BESIDE_CONTENT: Final = frozenset((*shapes.CALL_LIST_KEYS, *_INNER_TURN, "function_call", "refusal"))
_WRAPPED_KEYS: Final = frozenset((*_CALL_KEYS, *_RESULT_WRAPPERS, "function"))
_NOT_TEXT_PARTS: Final = frozenset(("finish_reason", "index", "message", "generation_info", "finishReason"))
_PRINTED_CALLS: Final = "Calling tools:"
"""What smolagents writes before the calls that it prints into the history."""


class Walk(Findings):
    """Goes through a parsed payload; everything found is on it."""

    _nodes = 0
    _levels = 0

    def parse(self, text: str, limit: int = _MAX_NESTED) -> Any:
        """Parse JSON, or what is almost JSON; UNREADABLE for prose."""
        if len(text) > limit:
            self.truncated = True
            return UNREADABLE
        text = text.rstrip(CUT)
        try:
            return orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            pass
        parsed = parse_loose(text)
        if parsed is None:
            return UNREADABLE
        self.truncated |= parsed.cut
        return parsed.value

    def node(self, node: Any, depth: int) -> None:
        """Go through any value."""
        kind = type(node)
        if kind is str:
            if node[:1] in ("{", "[", '"') or (node[:1].isupper() and "(" in node[:_CLASS_NAME]):
                self._nested(node, depth)  # JSON, or a printed object
            return
        if kind is not dict and kind is not list:
            return
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            self.truncated = True
        elif kind is dict:
            self._mapping(node, depth)
        elif len(node) == 2 and type(node[0]) is str and type(node[1]) is str:
            role = shapes.role_of_word(node[0])  # LangGraph's ("user", "…")
            if role is not None:
                self._message({"content": node[1]}, role, depth)
            else:
                self.node(node[0], depth + 1)
                self.node(node[1], depth + 1)
        else:
            for item in node:
                self.node(item, depth + 1)

    def _nested(self, text: str, depth: int) -> None:
        if self._levels < _MAX_JSON_LEVELS and (inner := self.parse(text)) is not UNREADABLE:
            self._levels += 1
            self.node(inner, depth + 1)
            self._levels -= 1

    def _mapping(self, node: dict[str, Any], depth: int) -> None:
        role = shapes.role_of(node)
        if role is not None and not _MESSAGE_MARKS.isdisjoint(node):
            self._message(node, role, depth)
        elif "lc" in node and type(kwargs := node.get("kwargs")) is dict:  # LangChain's constructors
            path = node.get("id")
            role = shapes.role_of({"type": path[-1]}) if type(path) is list and path else None
            if role is not None:
                self._message(kwargs, role, depth)
            else:
                self.node(kwargs, depth + 1)
        elif "_role" in node:  # Haystack's fields, serialised as they are
            self._mapping({key.lstrip("_"): value for key, value in node.items()}, depth)
        elif role is None and "content" in node and not _FINISH.isdisjoint(node):
            self._message(node, ASSISTANT, depth)  # AutoGen's answers
        elif "message.role" in node:
            self._mapping(without_prefixes(node), depth)
        elif not self._part(node, depth, ASSISTANT):
            self._container(node, depth)

    def _container(self, node: dict[str, Any], depth: int) -> None:
        """Pass through what is neither a message nor a part: a request, a response, a wrapper."""
        if not TURN_KEYS.isdisjoint(node):
            self.facts_of_turn(node)
        if "id" in node and self.response_id is None and not _RESPONSE_MARKS.isdisjoint(node):
            self.response_id = shapes.first_text(node, ("id",))
        for key, value in node.items():
            kind = type(value)
            if kind is str:
                if value[:1] in ("{", "["):
                    if key not in _SKIPPED:
                        self._nested(value, depth)
                elif key == "text" and ("finish_reason" in node or "index" in node):  # a text completion
                    self.enter(ASSISTANT)
                    self.say(value)
            elif kind is not dict and kind is not list:
                continue
            elif key in shapes.CALL_LIST_KEYS:
                self._call_list(value, depth + 1)
            elif key == "delta" and kind is dict:
                self.streamed = True
                self._message(value, shapes.role_of(value) or ASSISTANT, depth + 1)
            elif key not in _SKIPPED and not (key in shapes.TOOL_LIST_KEYS and self.offered(value)):
                self.node(value, depth + 1)

    # Messages

    def _message(self, node: dict[str, Any], role: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self.truncated = True
            return
        data = node.get("data")
        if type(data) is dict and "content" not in node:
            node = data  # LangChain's {"type": "ai", "data": {…}}
        before, answers = self.last_role, self.answers
        self.enter(role)
        self.messages_open += 1
        if not TURN_KEYS.isdisjoint(node):
            self.facts_of_turn(node)
            if self.response_id is None and "stop_reason" in node:
                self.response_id = shapes.first_text(node, ("id",))
        content = _content_of(node)
        if role == TOOL:
            self._tool_message(node, content, depth)
        elif content is not _ABSENT:
            self._content(content, role, depth)
        if not _BESIDE_CONTENT.isdisjoint(node):
            self._beside_content(node, depth)
        if role == ASSISTANT and not self.finish_reasons:
            self._of_raw(node, depth)
        self.messages_open -= 1
        if role == USER and self.answers == answers:  # some put results into messages of the user
            self.begin_turn(after_answer=before == ASSISTANT)

    def _of_raw(self, node: dict[str, Any], depth: int) -> None:
        """Why the answer ended, and which model gave it, from the response that a message was made of."""
        raw = next((node[key] for key in _RAW_KEYS if node.get(key)), None)
        if raw is None or depth > _MAX_JSON_LEVELS:
            return
        walk = Walk()
        walk.node(raw, depth + 1)
        for reason in walk.finish_reasons:
            self.finish(reason)
        self.models += [model for model in walk.models if model not in self.models]
        self.usage = self.usage or walk.usage

    def _beside_content(self, node: dict[str, Any], depth: int) -> None:
        for key in shapes.CALL_LIST_KEYS:
            if value := node.get(key):
                self._call_list(value, depth + 1)
        function = node.get("function_call")
        if type(function) is dict:
            self.call(function, "")
        refusal = node.get("refusal")
        if refusal and type(refusal) is str:
            self.refusal = True
            self.say(refusal)
        for key in _INNER_TURN:
            value = node.get(key)
            if value and type(value) is dict:
                self.node(value, depth + 1)

    def _content(self, content: Any, role: str, depth: int) -> None:
        """Read a message's content: text, parts, or one part."""
        kind = type(content)
        if kind is str:
            self.prose(content, role)
            if content[:1] in ("[", "{") and '"type"' in content:
                self._blocks_in_text(content, role, depth)
            elif content.startswith(_PRINTED_CALLS):
                self._nested(content[len(_PRINTED_CALLS) :].strip(), depth)
        elif kind is list:
            if not content:
                self.prose("", role)
            for item in content:
                if type(item) is dict:
                    if not self._part(item, depth + 1, role):
                        self.node(item, depth + 1)
                elif type(item) is str:
                    self.prose(item, role)
        elif kind is dict:
            if not self._part(content, depth + 1, role):
                self._content(content.get("parts", content.get("content")), role, depth + 1)
        elif content is None:
            self.prose("", role)

    def _blocks_in_text(self, content: str, role: str, depth: int) -> None:
        """Read content blocks that were serialised into the message's text."""
        if self._levels >= _MAX_JSON_LEVELS or (blocks := self.parse(content)) is UNREADABLE:
            return
        blocks = blocks if type(blocks) is list else [blocks]
        if not blocks or not all(map(_is_block, blocks)):
            return
        if role == ASSISTANT and self.texts and self.texts[-1] == content:
            self.texts.pop()
        self._levels += 1
        self._content(blocks, role, depth + 1)
        self._levels -= 1

    def _part(self, node: dict[str, Any], depth: int, role: str) -> bool:
        """Read one content part; False when it is none."""
        word = shapes.type_of(node)
        part = shapes.PARTS.get(word) or shapes.part_of_type(word) if word is not None else None
        if part == shapes.TEXT_PART:
            text = text_of(node)
            if text is not None:
                self.prose(text, role)
                if text.startswith(_PRINTED_CALLS):
                    self._nested(text[len(_PRINTED_CALLS) :].strip(), depth)
            elif role == ASSISTANT and self.said is None:
                self.said = False
            return True
        if part == shapes.REASONING_PART:
            return True
        if part == shapes.REFUSAL_PART:
            self.refusal = True
            self.say(shapes.first_text(node, ("refusal", "text", "content")) or "")
            return True
        if part == shapes.CALL_PART or (part is None and is_call(node)):
            if self.call(node, word or ""):
                return True
        elif part == shapes.RESULT_PART or (part is None and is_result(node)):
            self.result(node, word)
            return True
        return self._wrapped_part(node, role)

    def _wrapped_part(self, node: dict[str, Any], role: str) -> bool:
        """Read parts whose key says what they are: Gemini, Bedrock, Haystack, OpenAI's nested function."""
        found = False
        if not _WRAPPED_KEYS.isdisjoint(node):
            for key in _CALL_KEYS:
                if type(inner := node.get(key)) is dict:
                    found |= self.call(inner, "")
            if type(node.get("function")) is dict and is_call_of_function(node):
                found |= self.call(node, "")
            for key in _RESULT_WRAPPERS:
                if type(inner := node.get(key)) is dict:
                    self.result(inner, None)
                    found = True
        text = node.get("text")
        if not found and type(text) is str and _NOT_TEXT_PARTS.isdisjoint(node):
            if not node.get("thought"):
                self.prose(text, role)
            return True
        return found

    def _call_list(self, value: Any, depth: int) -> None:
        for item in value if type(value) is list else [value]:
            if type(item) is not dict:
                self.node(item, depth)
                continue
            function = item.get("function")
            if self.streamed and self.calls and type(function) is dict and not function.get("name"):
                last, more = self.calls[-1], function.get("arguments")
                if type(more) is str:
                    self.calls[-1] = replace(last, arguments=(last.arguments or "") + more)
            elif not self.call(without_prefixes(item) if "tool_call.function.name" in item else item, ""):
                self._part(item, depth, ASSISTANT)

    def _tool_message(self, node: dict[str, Any], content: Any, depth: int) -> None:
        """Read a message of role tool: one result, or a list of results (or, on tool spans, of calls)."""
        before = len(self.results) + len(self.calls)
        if type(content) is list:
            for item in content:
                if type(item) is dict and (CLASS in item or block_text(item) is None):
                    self._part(item, depth + 1, TOOL)
        if not _RESULT_LISTS.isdisjoint(node):
            for key in shapes.RESULT_LIST_KEYS:
                if type(items := node.get(key)) is list:
                    for item in items:
                        if type(item) is dict:
                            self.result(item, None)
        if len(self.results) + len(self.calls) == before:
            if content is _ABSENT:
                content = next((node[key] for key in shapes.RESULT_KEYS if key in node), _ABSENT)
            if content is not _ABSENT:
                node = {**node, "content": content}
            self.result(node, None, chat=True)


def _content_of(node: dict[str, Any]) -> Any:
    """The first content of a message that is not empty, an empty one, or _ABSENT."""
    content: Any = _ABSENT
    for key in shapes.CONTENT_KEYS:
        if key in node:
            content = node[key]
            if content:
                break
    if content is _ABSENT and type(node.get("message")) is str:  # Cohere's chat history
        return node["message"]
    if type(content) is list and content and type(content[0]) is dict and "message_content" in content[0]:
        return [item.get("message_content", item) if type(item) is dict else item for item in content]
    return content


def _is_block(node: Any) -> bool:
    return type(node) is dict and shapes.part_of_type(shapes.type_of(node) or "") is not None
