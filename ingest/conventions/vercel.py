"""Vercel AI SDK before version 7: `ai.*` (version 7 writes OpenTelemetry GenAI)."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="vercel",
    kind_attribute="ai.operationId",
    kinds={
        "ai.toolcall": "tool",
        "*.dogenerate": "llm",
        "*.dostream": "llm",
        "*.doembed": "embedding",
        "ai.embed*": "embedding",
        "ai.*": "agent",
    },
    texts={
        "provider": ("ai.model.provider",),
        "request_model": ("ai.model.id",),
        "response_model": ("ai.response.model",),
        "response_id": ("ai.response.id",),
        "finish_reason": ("ai.response.finishReason", "ai.finishReason"),
        "conversation_id": (
            "ai.telemetry.metadata.sessionId",
            "ai.telemetry.metadata.threadId",
            "ai.telemetry.metadata.conversationId",
        ),
        "user_id": ("ai.telemetry.metadata.userId",),
        "agent": ("ai.telemetry.functionId",),
        "tool": ("ai.toolCall.name",),
        "tool_call_id": ("ai.toolCall.id",),
        "tool_arguments": ("ai.toolCall.args", "ai.toolCall.input"),
        "tool_result": ("ai.toolCall.result", "ai.toolCall.output"),
        "input_messages": ("ai.prompt.messages", "ai.prompt"),
        "output_calls": ("ai.response.toolCalls", "ai.result.toolCalls"),
        "output_text": ("ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object"),
        "tool_definitions": ("ai.prompt.tools",),
    },
    numbers={
        "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens"),
        "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "cache_read_tokens": ("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
        "reasoning_tokens": ("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
    },
    durations={
        "time_to_first_token_ns": {"ai.response.msToFirstChunk": 1e6, "ai.stream.msToFirstChunk": 1e6},
    },
    first_token_events=("ai.stream.firstChunk",),
)
