"""Langfuse SDK 3 and later: `langfuse.observation.*`."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="langfuse",
    kind_attribute="langfuse.observation.type",
    kinds={
        "generation": "llm",
        "tool": "tool",
        "agent": "agent",
        "chain": "chain",
        "retriever": "retriever",
        "embedding": "embedding",
        "guardrail": "guardrail",
        "evaluator": "evaluator",
        "span": "chain",
        "event": "other",
    },
    texts={
        "response_model": ("langfuse.observation.model.name",),
        "finish_reason": ("langfuse.observation.metadata.finish_reason",),
        "conversation_id": ("langfuse.session.id",),
        "user_id": ("langfuse.user.id",),
        "workflow": ("langfuse.trace.name",),
        "service_version": ("langfuse.release", "langfuse.version"),
        "environment": ("langfuse.environment",),
        "status_message": ("langfuse.observation.status_message",),
        "input": ("langfuse.observation.input",),
        "output": ("langfuse.observation.output",),
    },
    times={"time_to_first_token_ns": ("langfuse.observation.completion_start_time",)},
    json_texts={"langfuse.observation.model.parameters": {"model": "request_model"}},
    json_numbers={
        "langfuse.observation.usage_details": {
            "input": "input_tokens",
            "prompt_tokens": "input_tokens",
            "input_tokens": "input_tokens",
            "output": "output_tokens",
            "completion_tokens": "output_tokens",
            "output_tokens": "output_tokens",
            "prompt_tokens_details.cached_tokens": "cache_read_tokens",
            "input_cached_tokens": "cache_read_tokens",
            "cache_read_input_tokens": "cache_read_tokens",
            "cache_creation_input_tokens": "cache_write_tokens",
            "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
            "output_reasoning_tokens": "reasoning_tokens",
        },
        "langfuse.observation.cost_details": {"total": "cost_usd"},
    },
    error_flags={"langfuse.observation.level": "error"},
)
