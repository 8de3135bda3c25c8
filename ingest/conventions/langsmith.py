"""LangSmith's OpenTelemetry export: `langsmith.*`, payloads in gen_ai.prompt and gen_ai.completion."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="langsmith",
    kind_attribute="langsmith.span.kind",
    kinds={
        "chain": "chain",
        "llm": "llm",
        "tool": "tool",
        "retriever": "retriever",
        "embedding": "embedding",
        "prompt": "chain",
        "parser": "chain",
    },
    texts={
        "provider": ("langsmith.metadata.ls_provider",),
        "request_model": ("langsmith.metadata.ls_model_name",),
        "conversation_id": (
            "langsmith.metadata.session_id",
            "langsmith.metadata.thread_id",
            "langsmith.metadata.conversation_id",
        ),
        "user_id": ("langsmith.metadata.user_id",),
        "agent": ("langsmith.metadata.lc_agent_name",),
        "workflow": (),
    },
    json_numbers={
        "langsmith.metadata.usage_metadata": {
            "input_tokens": "input_tokens",
            "output_tokens": "output_tokens",
            "input_token_details.cache_read": "cache_read_tokens",
            "input_token_details.cache_creation": "cache_write_tokens",
            "output_token_details.reasoning": "reasoning_tokens",
        }
    },
)
