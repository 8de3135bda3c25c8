"""The words by which payloads of all dialects name the same things, and the marks of what was not captured."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from detectors.traces.loose_json import CLASS, CUT

USER: Final = "user"
ASSISTANT: Final = "assistant"
SYSTEM: Final = "system"
TOOL: Final = "tool"


def _table(**words: str) -> dict[str, str]:
    """Invert `meaning="word word"`."""
    return {word: meaning for meaning, listed in words.items() for word in listed.split()}


_ROLES: Final = _table(
    user="user human humanmessage humanmessagechunk usermessage modelrequest customer",
    assistant="""
        assistant ai model bot chatbot aimessage aimessagechunk assistantmessage modelresponse tool-call
        toolcallrequestevent toolcallsummarymessage handoffmessage stopmessage""",
    system="system developer systemmessage",
    tool="""
        tool function toolmessage toolmessagechunk functionmessage toolresponsemessage tool-response
        tool_response tool_result tool_execution_result toolexecutionresultmessage toolcallexecutionevent
        functionexecutionresultmessage observation""",
)
_NOT_ROLES_AS_TYPES: Final = frozenset((
    "function", "tool-call", "tool_response", "tool-response", "tool_result", "observation", "model", "bot",
    "customer",
))  # fmt: skip

TEXT_PART: Final = "text"
REASONING_PART: Final = "reasoning"
REFUSAL_PART: Final = "refusal"
CALL_PART: Final = "call"
RESULT_PART: Final = "result"
PARTS: Final = _table(
    text="""
        text output_text input_text textcontent textblock textpart user_prompt system_prompt text_delta""",
    reasoning="""
        reasoning thinking redacted_thinking reasoningcontent thinkingpart thinkingblock thought summary_text
        reasoning_text thoughtevent""",
    refusal="refusal",
    call="""
        tool_call tool_use toolcall tooluse function_call functioncall server_tool_use server_tool_call
        mcp_tool_use mcp_call mcp_tool_call custom_tool_call invalid_tool_call tool_invocation toolcallpart
        toolcallblock toolcallcontent builtin_tool_call builtintoolcallpart functioncallcontent toolrequest
        chatcompletionmessagetoolcall chatcompletionmessagefunctiontoolcall responsefunctiontoolcall
        local_shell_call toolexecutionrequest dynamic_tool tool_calls toolselection""",
    result="""
        tool_result toolresult tool_call_response tool_call_result function_call_output functioncalloutput
        tool_response toolresponse function_response functionresponse server_tool_call_response tool_return
        toolreturnpart retry_prompt retrypromptpart toolcallresult toolresultblock toolresultcontent
        functionresultcontent function_result tool_error tool_output mcp_tool_result custom_tool_call_output
        web_search_tool_result code_execution_tool_result bash_code_execution_tool_result
        web_fetch_tool_result builtin_tool_return local_shell_call_output functionexecutionresult
        toolexecutionresult computer_call_output""",
)

BY_PROVIDER: Final = frozenset((
    "server_tool_use", "server_tool_call", "mcp_tool_use", "mcp_call", "mcp_tool_call", "builtin_tool_call",
    "builtintoolcallpart",
))  # fmt: skip
"""Calls that the provider runs itself: no tool span follows, and the tool is not among those offered."""

NAME_KEYS: Final = (
    "name", "tool_name", "toolName", "function_name", "functionName", "func_name", "toolUseName", "tool",
)  # fmt: skip
LINK_KEYS: Final = (
    "call_id", "tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "callId", "tool_id", "toolId",
)  # fmt: skip
"""Keys that hold the id of a call and of nothing else."""
ARGUMENT_KEYS: Final = (
    "arguments", "args", "input", "parameters", "tool_args", "toolArgs", "tool_kwargs", "kwargs", "tool_input",
    "toolInput", "raw_input", "rawInput", "tool_arguments", "params",
)  # fmt: skip
RESULT_KEYS: Final = (
    "response", "result", "output", "content", "outputs", "observation", "tool_output", "responseData",
    "response_data", "text", "blocks", "contents", "raw_output", "return_value", "value",
)  # fmt: skip
CALL_LIST_KEYS: Final = (
    "tool_calls", "toolCalls", "invalid_tool_calls", "toolExecutionRequests", "tool_uses", "function_calls",
    "functionCalls", "tool_requests", "toolRequests",
)  # fmt: skip
RESULT_LIST_KEYS: Final = ("tool_results", "toolResults", "responses", "tool_outputs", "tool_responses")
CONTENT_KEYS: Final = ("content", "parts", "contents", "blocks", "items", "text", "textContent")
TOOL_LIST_KEYS: Final = frozenset((
    "tools", "functions", "available_tools", "tool_definitions", "toolConfig", "tool_config", "toolSpecs",
    "tool_schemas", "function_declarations", "functionDeclarations", "tool_specifications",
    "toolSpecifications",
))  # fmt: skip
FINISH_KEYS: Final = (
    "finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "finish_reasons",
    "finishReasons",
)  # fmt: skip
MODEL_KEYS: Final = ("model", "model_name", "modelVersion", "model_version", "modelName", "modelId", "model_id")
USAGE_KEYS: Final = (
    "usage", "usage_metadata", "usageMetadata", "token_usage", "tokenUsage", "models_usage", "usage_details",
)  # fmt: skip

_OTHER_TYPE_KEYS: Final = ("part_kind", "content_type", "block_type", "messageType", "kind", CLASS)
_TYPE_KEYS: Final = frozenset(_OTHER_TYPE_KEYS)

_MAX_MARK: Final = 80
_MARK_OPENINGS: Final = frozenset("[<({_*rRxX█ ")
_REDACTED = re.compile(
    r"\s*(?:[\[<({_*]{1,3}\s*(?:content |value |data |input |output |text |message )?"
    r"(?:redacted|masked|hidden|filtered|elided|scrubbed|sanitized|anonymized|removed|omitted|not specified|"
    r"not captured|not recorded|capture disabled|content hidden)[^\[\]<>{}]{0,40}[\])>}_*]{1,3}"
    r"|redacted|\*{3,}|x{6,}|█+)\s*",
    re.IGNORECASE,
)


def is_redacted(text: str) -> bool:
    """Say whether the text is a mark left in place of content that was withheld."""
    return len(text) <= _MAX_MARK and text[:1] in _MARK_OPENINGS and _REDACTED.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _role_of_word(word: str) -> str | None:
    return _ROLES.get(word.rpartition(".")[2].lower())


@lru_cache(maxsize=1024)
def part_of_type(word: str) -> str | None:
    """Classify the `type` of a content part: text, reasoning, refusal, call, result, or None."""
    return PARTS.get(word.rpartition(".")[2].lower().replace("-", "_"))


@lru_cache(maxsize=1024)
def _role_of_type(word: str) -> str | None:
    word = word.lower()
    return None if word in _NOT_ROLES_AS_TYPES else _ROLES.get(word)


def role_of_word(word: str) -> str | None:
    """Normalise a role (`human`, `ChatRole.USER`, `model`, `tool-response`); None for a word that is none."""
    return _role_of_word(word) if len(word) <= _MAX_MARK else None


def type_of(node: dict[str, Any]) -> str | None:
    """The word that says what a part or message is, whichever key the dialect keeps it under."""
    word = node.get("type")
    if type(word) is str and len(word) <= _MAX_MARK:
        return word
    if not _TYPE_KEYS.isdisjoint(node):
        for key in _OTHER_TYPE_KEYS:
            word = node.get(key)
            if type(word) is str and len(word) <= _MAX_MARK:
                return word
    return None


def role_of(node: dict[str, Any]) -> str | None:
    """The role of a message, from its role or, where the dialect has none, from its type or class."""
    word = node.get("role")
    if type(word) is str:
        return _ROLES.get(word) or role_of_word(word)
    word = type_of(node)
    if word is None:
        return None
    if word == "TextMessage" or word == "MultiModalMessage":
        return USER if node.get("source") == "user" else ASSISTANT
    return _role_of_type(word)


def first_text(node: dict[str, Any], keys: Iterable[str]) -> str | None:
    """The first non-empty string under any of the keys, numbers made text."""
    for key in keys:
        value = node.get(key)
        if type(value) is str:
            if value and not value.endswith(CUT):
                return value
        elif type(value) is int:
            return str(value)
    return None
