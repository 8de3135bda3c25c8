"""OpenLIT: OpenTelemetry GenAI with attributes of its own on workflows, and payloads in span events."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="openlit",
    texts={
        "input": ("gen_ai.workflow.input", "gen_ai.content.prompt"),
        "output": ("gen_ai.workflow.output", "gen_ai.content.completion"),
        "tool_arguments": ("gen_ai.tool.args",),
        "tool_definitions": ("gen_ai.agent.tools",),
    },
)
