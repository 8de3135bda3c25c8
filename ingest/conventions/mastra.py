"""Mastra's exporter (@mastra/otel-exporter): OpenTelemetry GenAI on model calls and tools, `mastra.*` around them."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="mastra",
    kind_attribute="mastra.span.type",
    kinds={
        "agent_run": "agent",
        "workflow_run": "workflow",
        "workflow_*": "chain",
        "model_generation": "llm",
        "llm_generation": "llm",
        "model_step": "chain",
        "model_inference": "llm",
        "tool_call": "tool",
        "mcp_tool_call": "tool",
        "client_tool_call": "tool",
        "processor_run": "guardrail",
    },
    texts={
        "conversation_id": ("mastra.metadata.threadId", "mastra.metadata.sessionId"),
        "user_id": ("mastra.metadata.userId",),
        "input": ("mastra.agent_run.input", "mastra.model_generation.input", "mastra.workflow_run.input"),
        "output": ("mastra.agent_run.output", "mastra.model_generation.output", "mastra.workflow_run.output"),
    },
)
