"""Laminar SDK (lmnr): `lmnr.span.*` beside OpenTelemetry GenAI on model calls."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="laminar",
    kind_attribute="lmnr.span.type",
    kinds={
        "llm": "llm",
        "tool": "tool",
        "pipeline": "workflow",
        "executor": "chain",
        "evaluator": "evaluator",
        "human_evaluator": "evaluator",
        "evaluation": "chain",
        "default": "chain",
    },
    texts={
        "conversation_id": ("lmnr.association.properties.session_id",),
        "user_id": ("lmnr.association.properties.user_id",),
        "input": ("lmnr.span.input",),
        "output": ("lmnr.span.output",),
    },
)
