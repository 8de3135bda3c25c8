"""Spring AI (Micrometer observations): OpenTelemetry GenAI on model calls, `spring.ai.*` on tools and clients."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="spring_ai",
    kind_attribute="spring.ai.kind",
    kinds={"tool_call": "tool", "chat_client": "agent", "advisor": "chain", "vector_store": "retriever"},
    texts={
        "tool": ("spring.ai.tool.definition.name",),
        "tool_arguments": ("spring.ai.tool.call.arguments",),
        "tool_result": ("spring.ai.tool.call.result",),
        "tool_schema": ("spring.ai.tool.definition.schema",),
        "conversation_id": ("spring.ai.chat.client.conversation.id",),
        "tool_definitions": ("spring.ai.model.request.tool.names", "spring.ai.chat.client.tool.names"),
    },
)
