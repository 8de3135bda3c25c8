"""AgentOps SDK: `agentops.*` on decorated functions."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="agentops",
    kind_attribute="agentops.span.kind",
    kinds={
        "session": "workflow",
        "workflow": "workflow",
        "agent": "agent",
        "task": "chain",
        "operation": "chain",
        "chain": "chain",
        "tool": "tool",
        "llm": "llm",
        "guardrail": "guardrail",
    },
    texts={
        "tool": ("operation.name",),
        "tool_arguments": ("agentops.tool.input",),
        "tool_result": ("agentops.tool.output",),
        "input": ("agentops.entity.input",),
        "output": ("agentops.entity.output",),
        "tool_definitions": ("gen_ai.request.functions.*",),
    },
)
