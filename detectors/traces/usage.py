"""Token counts in a payload, whatever the provider calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call; None where unsaid. Input includes cached, output includes reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


_INPUT: Final = (
    "prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "promptTokenCount", "prompt_token_count",
    "prompt_eval_count", "inputTokenCount", "input_token_count", "input",
)  # fmt: skip
_OUTPUT: Final = (
    "completion_tokens", "output_tokens", "completionTokens", "outputTokens", "outputTokenCount",
    "output_token_count", "eval_count", "generationTokens", "generated_tokens", "output",
)  # fmt: skip
_CANDIDATES: Final = ("candidatesTokenCount", "candidates_token_count")
_THOUGHTS: Final = ("thoughtsTokenCount", "thoughts_token_count")
_TOTAL: Final = ("totalTokenCount", "total_token_count")
_CACHE_READ: Final = (
    "cached_tokens", "cachedInputTokens", "cachedContentTokenCount", "cached_content_token_count", "cache_read",
    "cached_prompt_tokens", "cacheReadTokens", "cache_read_tokens", "input_cached_tokens",
)  # fmt: skip
_CACHE_READ_APART: Final = ("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
_CACHE_WRITE: Final = ("cache_write_tokens", "cache_creation", "cacheWriteTokens", "cache_creation_tokens")
_CACHE_WRITE_APART: Final = (
    "cache_creation_input_tokens",
    "cacheWriteInputTokens",
    "cacheWriteInputTokenCount",
)
_REASONING: Final = ("reasoning_tokens", "reasoningTokens", "reasoning")
_INPUT_DETAILS: Final = (
    "prompt_tokens_details", "input_tokens_details", "input_token_details", "inputTokenDetails",
    "promptTokensDetails", "inputTokensDetails",
)  # fmt: skip
_OUTPUT_DETAILS: Final = (
    "completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails",
    "completionTokensDetails", "outputTokensDetails",
)  # fmt: skip


def _count(node: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = node.get(key)
        if type(value) is int and 0 <= value < 1 << 50:
            return value
        if type(value) is dict and type(value.get("total")) is int:  # AI SDK 6: {"total": 5, "noCache": 5}
            return _count(value, ("total",))
    return None


def _detail(node: Mapping[str, Any], details: tuple[str, ...], keys: tuple[str, ...]) -> int | None:
    for key in details:
        value = node.get(key)
        if type(value) is dict and (count := _count(value, keys)) is not None:
            return count
    return _count(node, keys)


def read_usage(node: Mapping[str, Any]) -> Usage | None:
    """Read one usage object; None when it holds no token count.

    Anthropic and Bedrock count cached input apart from input, so it is added. Gemini counts thoughts apart
    from candidates, except through gateways that count them twice, so its total decides.
    """
    tokens = node.get("tokens")
    if type(tokens) is dict:  # Cohere
        node = tokens
    given = _count(node, _INPUT)
    output = _count(node, _OUTPUT)
    candidates = _count(node, _CANDIDATES)
    thoughts = _count(node, _THOUGHTS)
    if output is None and (candidates is not None or thoughts is not None):
        output = (candidates or 0) + (thoughts or 0)
        total = _count(node, _TOTAL)
        if total is not None and given is not None and total >= given:
            output = min(output, total - given)
    if given is None and output is None:
        return None
    read = _detail(node, _INPUT_DETAILS, _CACHE_READ)
    write = _detail(node, _INPUT_DETAILS, _CACHE_WRITE)
    if given is not None and "prompt_tokens" not in node:
        read_apart, write_apart = _count(node, _CACHE_READ_APART), _count(node, _CACHE_WRITE_APART)
        given += (read_apart or 0) + (write_apart or 0)
        read = read_apart if read_apart is not None else read
        write = write_apart if write_apart is not None else write
    reasoning = thoughts if thoughts is not None else _detail(node, _OUTPUT_DETAILS, _REASONING)
    return Usage(given, output, read, write, reasoning)
