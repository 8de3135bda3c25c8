"""LiveKit Agents: OpenTelemetry GenAI, and `lk.*` for what was said."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="livekit",
    kind_if_present={"lk.function_tool.name": "tool"},
    texts={
        "tool": ("lk.function_tool.name",),
        "tool_call_id": ("lk.function_tool.id",),
        "tool_arguments": ("lk.pii.function_tool.arguments", "lk.function_tool.arguments"),
        "tool_result": ("lk.pii.function_tool.output", "lk.function_tool.output"),
        "input": ("lk.pii.user_input", "lk.user_input", "lk.pii.chat_ctx", "lk.chat_ctx"),
        "output_text": ("lk.pii.response.text", "lk.response.text"),
        "output_calls": ("lk.pii.response.function_calls", "lk.response.function_calls"),
    },
    error_flags={"lk.function_tool.is_error": "true"},
)
