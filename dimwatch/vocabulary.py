"""One word for one thing: finish reasons, providers and model names as the canonical columns write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import orjson
import pyarrow as pa

FINISH_REASONS: Final[Mapping[str, str]] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "complete": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end": "stop",
    "finished": "stop",
    "success": "stop",
    "tool_calls": "tool_call",
    "tool-calls": "tool_call",
    "tool_call": "tool_call",
    "tool_use": "tool_call",
    "tooluse": "tool_call",
    "function_call": "tool_call",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "max_length": "length",
    "max_new_tokens": "length",
    "token_limit": "length",
    "context_length_exceeded": "length",
    "model_context_window_exceeded": "length",
    "incomplete": "length",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
    "error_toxic": "content_filter",
    "blocked": "content_filter",
    "moderation": "content_filter",
    "malformed_function_call": "malformed_tool_call",
    "malformed_tool_call": "malformed_tool_call",
    "unexpected_tool_call": "malformed_tool_call",
    "error": "error",
    "failed": "error",
    "cancelled": "error",
    "canceled": "error",
    "user_cancel": "error",
    "aborted": "error",
    "timeout": "error",
}

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

PROVIDERS: Final[Mapping[str, str]] = {
    "open_ai": "openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "azure.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_genai_sdk": "gcp.gemini",
    "google-generative-ai": "gcp.gemini",
    "google_ai_studio": "gcp.gemini",
    "gcp.gen_ai": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "together": "together_ai",
    "together.ai": "together_ai",
    "hugging_face": "huggingface",
}

_KNOWN: Final = frozenset(PROVIDERS) | frozenset(PROVIDERS.values())

FRAMEWORKS: Final = frozenset(
    {
        "strands-agents", "autogen", "langgraph", "langchain", "crewai", "agno", "llama_index", "llamaindex",
        "haystack", "smolagents", "dspy", "openai_agents", "openai-agents", "microsoft.agent_framework",
        "agent_framework", "pydantic-ai", "pydantic_ai", "semantic_kernel", "litellm", "mastra", "vercel",
        "google_adk", "beeai", "camel", "instructor", "spring_ai", "genkit", "livekit", "ag2", "unknown",
        "custom", "mcp", "none", "_other",
    }
)  # fmt: skip
"""Frameworks that instrumentations write where a provider belongs."""

_MODEL_FAMILIES: Final = (
    ("gpt", "openai"),
    ("chatgpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding", "openai"),
    ("claude", "anthropic"),
    ("gemini", "gcp.gemini"),
    ("command", "cohere"),
    ("mistral", "mistral_ai"),
    ("codestral", "mistral_ai"),
    ("grok", "x_ai"),
    ("deepseek", "deepseek"),
)

_PREFIXES: Final = frozenset(
    {
        "openai", "azure", "anthropic", "bedrock", "gemini", "google", "vertex_ai", "vertexai", "mistral", "cohere",
        "groq", "models", "litellm", "litellm_proxy", "ollama", "ollama_chat", "xai", "deepseek",
    }
)  # fmt: skip
"""What routers put before the slash of a model name; publishers such as `meta-llama/` stay."""


def finish_reason(raw: str) -> str:
    """The canonical finish reason; `raw` may be a JSON array or string of one. Unknown words stay `unknown`."""
    word = raw.strip()
    if word[:1] in '["':
        try:
            parsed = orjson.loads(word)
        except orjson.JSONDecodeError:
            parsed = word
        while isinstance(parsed, list):
            parsed = parsed[0] if parsed else ""
        word = parsed if isinstance(parsed, str) else ""
    word = _HUMP.sub("_", word.strip().rsplit(".", 1)[-1]).lower()
    if not word or word in {"none", "null"}:
        return ""
    return FINISH_REASONS.get(word) or FINISH_REASONS.get(word.replace("-", "_").replace(" ", "_"), "unknown")


def model(raw: str) -> str:
    """A model name without the router's prefix (`openai/gpt-4o` and `models/gemini-pro` lose it)."""
    name = raw.strip().strip('"')
    while "/" in name and name.split("/", 1)[0].lower() in _PREFIXES:
        name = name.split("/", 1)[1]
    return name


def provider(raw: str) -> str:
    """The provider in the words of the OpenTelemetry registry; "" for names of frameworks."""
    name = raw.strip().strip('"').lower()
    if name not in _KNOWN and "." in name and name.split(".", 1)[0] in {"openai", "anthropic", "google", "azure"}:
        # `openai.chat` (Vercel): the API after the dot is not the provider.
        name = name.split(".", 1)[0]
    if name in FRAMEWORKS:
        return ""
    return PROVIDERS.get(name, name)


def provider_of_model(name: str) -> str:
    """The provider whose family of models `name` belongs to, "" if it does not tell."""
    lowered = name.lower()
    return next((provider for prefix, provider in _MODEL_FAMILIES if lowered.startswith(prefix)), "")


def translate(texts: pa.Array, word: Callable[[str], str]) -> pa.Array:
    """Apply `word` to each distinct text; null becomes ""."""
    encoded = texts.fill_null("").dictionary_encode()
    return pa.array([word(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)
