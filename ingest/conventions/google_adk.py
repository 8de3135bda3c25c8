"""Google Agent Development Kit: OpenTelemetry GenAI, and before that `gcp.vertex.agent.*` for payloads."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="google_adk",
    texts={
        "conversation_id": ("gcp.vertex.agent.session_id",),
        "tool_arguments": ("gcp.vertex.agent.tool_call_args",),
        "tool_result": ("gcp.vertex.agent.tool_response",),
        "input_messages": ("gcp.vertex.agent.llm_request",),
        "output_messages": ("gcp.vertex.agent.llm_response",),
    },
)
