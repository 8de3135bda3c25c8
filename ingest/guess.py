"""What attributes mean that no convention names: spans written by hand, and frameworks that nobody has met yet.

People who name attributes themselves still use the field's words: `tool.result`, `llm.prompt_tokens`,
`acme.span_type`. So a key is split into words and understood by the last of them. A guess never wins over a
convention, and what it finds is checked like anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MAX_KEY: Final = 120
_LONGEST: Final = 4

_FOREIGN: Final = frozenset((
    "http", "https", "url", "net", "network", "server", "client", "peer", "rpc", "db", "messaging", "faas", "k8s",
    "process", "host", "os", "cloud", "container", "code", "thread", "telemetry", "service", "deployment", "aws",
    "azure", "gcp", "exception", "otel", "sampler", "sampling", "device", "browser", "graphql", "file", "log",
    "feature", "cache", "celery", "kafka", "redis", "sentry", "dd", "resource", "instrumentation", "scope",
))  # fmt: skip
"""First words of attributes that are not about agents, whatever follows."""
_ASIDE: Final = frozenset((
    "metadata", "association", "tag", "tags", "options", "option", "config", "settings", "invocation", "description",
    "schema", "types", "spec", "count", "length", "size", "hash", "mime", "raw", "header", "headers", "default",
    "expected", "cached", "cache", "reasoning", "details", "audio", "template", "previous", "parent", "max", "min",
))  # fmt: skip
"""Words that make another thing of what they stand beside."""


def _table(columns: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    return {tuple(words.split(".")): column for column, listed in columns.items() for words in listed.split()}


_MEANINGS: Final = _table({
    "tool": "tool tool.name",
    "tool_call_id": "tool.call.id",
    "tool_arguments": """
        tool.args tool.arguments tool.input tool.inputs tool.parameters tool.params tool.kwargs tool.call.args
        tool.call.arguments tool.call.input function.arguments function.args arguments args kwargs params""",
    "tool_result": """
        tool.result tool.results tool.output tool.outputs tool.response tool.return tool.call.result
        tool.call.output tool.call.response function.result function.output result return return.value observation""",
    "input": "input inputs request.data request.body question query user.input user.message user.query",
    "output": """
        output outputs response.text response.object response.data response.body answer response reply final.answer
        final.output completion completions generation generated.text""",
    "input_messages": "messages prompt prompts input.messages chat.history request.messages",
    "output_messages": "output.messages response.messages",
    "output_calls": "tool.calls",
    "tool_definitions": "tools tool.definitions available.tools tool.schemas",
    "tool_schema": "definition.schema tool.schema input.schema",
    "request_model": "model model.name model.id request.model",
    "response_model": "response.model",
    "response_id": "response.id",
    "provider": "provider model.provider llm.provider",
    "finish_reason": "finish.reason finish.reasons stop.reason",
    "conversation_id": "session.id thread.id conversation.id chat.id session conversation",
    "user_id": "user.id user",
    "agent": "agent.name",
    "workflow": "workflow.name",
    "status_message": "error.message error.msg",
    "input_tokens": """
        prompt.tokens input.tokens tokens.input tokens.prompt tokens.in usage.input usage.prompt prompt.token.count
        input.token.count""",
    "output_tokens": """
        completion.tokens output.tokens tokens.output tokens.completion tokens.out usage.output usage.completion
        completion.token.count output.token.count""",
    "kind": """
        span.kind span.type observation.type event.type run.type node.type step.type subtype operation.type
        operation.name""",
    "failed_if_true": "is.error has.error failed",
    "failed_if_false": "success succeeded successful ok",
    "failed_if_said": "error",
})  # fmt: skip

_LISTED: Final = re.compile(r"([^\d]*[A-Za-z_])\.\d+\.")
"""A list that is written as one attribute for each field of each item: `acme.messages.0.role`."""
PAYLOADS: Final = frozenset((
    "input", "output", "input_messages", "output_messages", "tool_arguments", "tool_result",
))  # fmt: skip
"""What may also be on events of a span."""
_LISTS: Final = frozenset(("input", "output", "input_messages", "output_messages", "tool_definitions"))
NUMBERS: Final = frozenset(("input_tokens", "output_tokens"))
FLAGS: Final = frozenset(("failed_if_true", "failed_if_false", "failed_if_said"))
KINDS: Final[Mapping[str, str]] = {
    word: kind
    for kind, words in {
        "llm": "llm llm_call llm_request model chat_model chat_completion chat generation model_generation completion "
        "text_completion generate_content language_model",
        "tool": "tool tool_call toolcall tool_execution tool_invocation execute_tool tool_use mcp_tool_call "
        "function_tool mcp_tool",
        "agent": "agent agent_run agent_call invoke_agent",
        "workflow": "workflow flow graph pipeline crew",
        "chain": "chain step task workflow_step runnable",
        "retriever": "retriever retrieval retrieve",
        "embedding": "embedding embeddings embedder",
        "reranker": "reranker rerank",
        "guardrail": "guardrail guardrails",
        "evaluator": "evaluator evaluation",
        "memory": "memory",
    }.items()
    for word in words.split()
}
"""What attributes of the meaning `kind` say, to canonical kinds."""

_BREAK: Final = r"[ ._:/-]"
SPAN_NAMES: Final[tuple[tuple[str, str], ...]] = (
    (rf"(?i)^(agent({_BREAK}?(run|execution|invocation|turn|call|loop))|(run|invoke){_BREAK}?agent)\b", "agent"),
    (rf"(?i)(^|{_BREAK})agent({_BREAK}run)?$", "agent"),
    (
        rf"(?i)^(tool({_BREAK}?(call|use|execution|invocation|run))|(execute|call|run|invoke|use){_BREAK}?tool)\b",
        "tool",
    ),
    (r"(?i)^tools?[ :/.]\s*[\w.-]+$|^[\w-]+\.tool$", "tool"),
)
"""Span names (RE2) to kinds. A name alone makes nobody a model call: that takes a model or its words, too."""

MODEL_NAMES: Final = (
    rf"(?i)(^|{_BREAK})(llm|chat|completions?|chat{_BREAK}?completions?|generate({_BREAK}?(content|text))?|inference"
    rf"|model|messages)({_BREAK}?(call|request|invoke|run|create|generate|stream|completions?))?$"
)


@lru_cache(maxsize=16384)
def meaning(key: str) -> str | None:
    """The canonical column (or `kind`, or a failure flag) that an attribute of this name may hold, None for none."""
    if len(key) > _MAX_KEY or ("." in key and any(part.isdigit() for part in key.split("."))):
        return None
    words = tuple(word.lower() for word in _WORDS.findall(key))
    if not words or words[0] in _FOREIGN:
        return None
    for count in range(min(_LONGEST, len(words)), 0, -1):
        found = _MEANINGS.get(words[-count:])
        if found is not None:
            if found != "kind" and not _ASIDE.isdisjoint(words[:-count]):
                return None
            return found
    return None


def guesses(keys: Iterable[str], known: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Column to the attribute names among `keys` that may hold it, shortest first; `known` names are left alone.

    A name that ends in `.*` stands for a flattened list."""
    found: dict[str, set[str]] = {}
    for key in keys:
        if key in known:
            continue
        listed = _LISTED.match(key)
        name = key if listed is None else listed[1]
        column = meaning(name)
        if column is not None and (listed is None or column in _LISTS):
            found.setdefault(column, set()).add(name if listed is None else f"{name}.*")
    return {column: tuple(sorted(names, key=lambda name: (len(name), name))) for column, names in found.items()}
