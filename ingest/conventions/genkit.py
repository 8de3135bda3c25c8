"""Genkit (Google): `genkit:*`, actions with a subtype."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="genkit",
    kind_attribute="genkit:metadata:subtype",
    kinds={
        "model": "llm",
        "background-model": "llm",
        "tool": "tool",
        "tool.v2": "tool",
        "flow": "workflow",
        "agent": "agent",
        "prompt": "chain",
        "executable-prompt": "chain",
        "retriever": "retriever",
        "indexer": "memory",
        "embedder": "embedding",
        "reranker": "reranker",
        "evaluator": "evaluator",
    },
    texts={
        "request_model": ("genkit:name",),
        "conversation_id": ("genkit:sessionId",),
        "input": ("genkit:input",),
        "output": ("genkit:output",),
    },
    error_flags={"genkit:state": "error"},
)
