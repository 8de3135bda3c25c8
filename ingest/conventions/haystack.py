"""Haystack 3: span names and `haystack.*`, no kind attribute."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="haystack",
    kind_if_present={"haystack.tool.name": "tool"},
    span_names={
        r"^haystack\.agent\.step\.llm$": "llm",
        r"^haystack\.agent\.step\.tool$": "tool",
        r"^haystack\.agent\.run$": "agent",
        r"^haystack\.pipeline\.run$": "workflow",
        r"^haystack\.": "chain",
    },
    texts={
        "tool": ("haystack.tool.name",),
        "tool_arguments": ("haystack.agent.step.tool.input",),
        "tool_result": ("haystack.agent.step.tool.output",),
        "input_messages": ("haystack.agent.step.llm.input",),
        "output_messages": ("haystack.agent.step.llm.output",),
        "tool_definitions": ("haystack.agent.tools",),
        "input": ("haystack.component.input", "haystack.pipeline.input_data", "haystack.agent.input"),
        "output": ("haystack.component.output", "haystack.pipeline.output_data", "haystack.agent.output"),
    },
    error_flags={"haystack.tool.error": "true"},
)
