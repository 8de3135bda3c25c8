"""Langtrace SDK: OpenTelemetry GenAI with the kind in `langtrace.service.type`."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="langtrace",
    kind_attribute="langtrace.service.type",
    kinds={"llm": "llm", "vectordb": "retriever", "framework": "chain"},
    texts={
        "conversation_id": ("langtrace.attributes.session_id", "session_id"),
        "user_id": ("langtrace.attributes.user_id",),
        "input": ("langtrace.inputs",),
        "output": ("langtrace.outputs",),
    },
)
