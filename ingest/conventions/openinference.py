"""OpenInference (Arize): `openinference.span.kind`, flattened messages, input.value and output.value."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="openinference",
    kind_attribute="openinference.span.kind",
    kinds={
        "llm": "llm",
        "tool": "tool",
        "agent": "agent",
        "chain": "chain",
        "retriever": "retriever",
        "embedding": "embedding",
        "reranker": "reranker",
        "guardrail": "guardrail",
        "evaluator": "evaluator",
        "prompt": "chain",
        "decision": "chain",
        "unknown": "other",
    },
    texts={
        "provider": ("llm.provider", "llm.system"),
        "request_model": ("llm.request.model_name",),
        "response_model": ("llm.response.model_name", "llm.model_name"),
        "finish_reason": ("llm.finish_reason",),
        "agent": ("agent.name",),
        "tool": ("tool.name", "tool_call.function.name"),
        "tool_call_id": ("tool_call.id", "tool.id"),
        "tool_schema": ("tool.parameters", "tool.json_schema"),
        "input_messages": ("llm.input_messages.*",),
        "output_messages": ("llm.output_messages.*",),
        "tool_definitions": ("llm.tools.*",),
        "documents": ("retrieval.documents.*", "reranker.output_documents.*"),
        "input": ("input.value",),
        "output": ("output.value",),
    },
    numbers={
        "input_tokens": ("llm.token_count.prompt",),
        "output_tokens": ("llm.token_count.completion",),
        "cache_read_tokens": (
            "llm.token_count.prompt_details.cache_read",
            "llm.token_count.prompt_details.cache_input",
        ),
        "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
        "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
        "cost_usd": ("llm.cost.total",),
    },
    json_texts={
        "llm.invocation_parameters": {"model": "request_model", "model_name": "request_model"},
        "metadata": {
            "session_id": "conversation_id",
            "thread_id": "conversation_id",
            "user_id": "user_id",
            "lc_agent_name": "agent",  # written by LangChain's create_agent
        },
    },
    first_token_events=("First Token Stream Event",),
)
