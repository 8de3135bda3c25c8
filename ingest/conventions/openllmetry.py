"""OpenLLMetry (Traceloop): `traceloop.*`, `llm.*`, old flattened `gen_ai.prompt.N.*` (see otel_genai_old)."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="openllmetry",
    kind_attribute="traceloop.span.kind",
    kinds={
        "workflow": "workflow",
        "agent": "agent",
        "task": "chain",
        "tool": "tool",
        "unknown": "other",
    },
    kind_if_present={"llm.request.type": "llm"},
    texts={
        "agent": ("gen_ai.agent.name",),
        "workflow": ("traceloop.workflow.name",),
        "conversation_id": (
            "traceloop.association.properties.session_id",
            "traceloop.association.properties.thread_id",
            "traceloop.association.properties.conversation_id",
        ),
        "user_id": ("traceloop.association.properties.user_id",),
        "input": ("traceloop.entity.input", "mcp.request.argument"),
        "output": ("traceloop.entity.output", "mcp.response.value"),
        "tool_definitions": ("llm.request.functions.*", "llm.request.tools"),
        "system_fingerprint": ("gen_ai.openai.system_fingerprint",),
    },
    numbers={
        "input_tokens": ("llm.usage.prompt_tokens",),
        "output_tokens": ("llm.usage.completion_tokens",),
        "reasoning_tokens": ("gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens"),
    },
    error_flags={"gen_ai.task.status": "failure"},
    first_token_events=("gen_ai.content.completion.chunk", "llm.content.completion.chunk"),
)
