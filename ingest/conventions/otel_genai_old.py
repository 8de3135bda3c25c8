"""OpenTelemetry GenAI, deprecated names that instrumentations still write."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="otel_genai_old",
    texts={
        "provider": ("gen_ai.system",),
        "input_messages": ("gen_ai.prompt", "gen_ai.prompt.*"),
        "output_messages": ("gen_ai.completion", "gen_ai.completion.*"),
        "input": ("gen_ai.prompt",),
        "output": ("gen_ai.completion",),
        "finish_reason": ("gen_ai.response.finish_reason", "gen_ai.completion.0.finish_reason"),
    },
    numbers={
        "input_tokens": ("gen_ai.usage.prompt_tokens",),
        "output_tokens": ("gen_ai.usage.completion_tokens",),
        "cache_read_tokens": ("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cached_tokens"),
        "cache_write_tokens": ("gen_ai.usage.cache_creation_input_tokens",),
    },
)
