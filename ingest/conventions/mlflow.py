"""MLflow Tracing (mlflow.tracing): `mlflow.span*`, every value a JSON document."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="mlflow",
    kind_attribute="mlflow.spanType",
    kinds={
        "llm": "llm",
        "chat_model": "llm",
        "tool": "tool",
        "agent": "agent",
        "chain": "chain",
        "workflow": "workflow",
        "task": "chain",
        "parser": "chain",
        "retriever": "retriever",
        "embedding": "embedding",
        "reranker": "reranker",
        "guardrail": "guardrail",
        "evaluator": "evaluator",
        "memory": "memory",
    },
    texts={
        "provider": ("mlflow.llm.provider",),
        "response_model": ("mlflow.llm.model",),
        "conversation_id": ("mlflow.trace.session",),
        "user_id": ("mlflow.trace.user",),
        "tool_definitions": ("mlflow.chat.tools",),
        "input": ("mlflow.spanInputs",),
        "output": ("mlflow.spanOutputs",),
    },
    json_numbers={
        "mlflow.chat.tokenUsage": {
            "input_tokens": "input_tokens",
            "output_tokens": "output_tokens",
            "cache_read_input_tokens": "cache_read_tokens",
            "cache_creation_input_tokens": "cache_write_tokens",
        }
    },
)
