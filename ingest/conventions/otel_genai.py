"""OpenTelemetry GenAI semantic conventions, current names (opentelemetry/semantic-conventions-genai)."""

from typing import Final

from ingest.conventions.base import Convention

_FIRST_TOKEN_PREFIXES: Final = (
    "gen_ai.response", "gen_ai.client", "gen_ai.client.operation", "gen_ai", "gen_ai.usage", "gen_ai.latency", "llm",
)  # fmt: skip

CONVENTION = Convention(
    name="otel_genai",
    kind_attribute="gen_ai.operation.name",
    kinds={
        "chat": "llm",
        "text_completion": "llm",
        "completion": "llm",
        "generate_content": "llm",
        "message": "llm",
        "messages": "llm",
        "responses": "llm",
        "response": "llm",
        "llm": "llm",
        "embeddings": "embedding",
        "embedding": "embedding",
        "retrieval": "retriever",
        "rerank": "reranker",
        "execute_tool": "tool",
        "tool": "tool",
        "*tool_call": "tool",
        "invoke_agent": "agent",
        "agent": "agent",
        "agent_step": "chain",
        "agent_run": "agent",
        "create_agent": "setup",
        "invoke_workflow": "workflow",
        "workflow": "workflow",
        "plan": "chain",
        "chain": "chain",
        "task": "chain",
        "execute_task": "chain",
        "execute_event_loop_cycle": "chain",
        "search_memory": "memory",
        "create_memory": "memory",
        "update_memory": "memory",
        "upsert_memory": "memory",
        "delete_memory": "memory",
        "create_memory_store": "memory",
        "delete_memory_store": "memory",
    },
    kind_if_present={
        "gen_ai.tool.call.result": "tool",
        "gen_ai.tool.call.arguments": "tool",
        "gen_ai.tool.call.id": "tool",
        "gen_ai.tool.name": "tool",
        "gen_ai.response.finish_reasons": "llm",
        "gen_ai.request.model": "llm",
        "gen_ai.response.model": "llm",
    },
    texts={
        "provider": ("gen_ai.provider.name",),
        "request_model": ("gen_ai.request.model",),
        "response_model": ("gen_ai.response.model",),
        "response_id": ("gen_ai.response.id",),
        "system_fingerprint": (
            "openai.response.system_fingerprint",
            "gen_ai.openai.response.system_fingerprint",
            "gen_ai.response.system_fingerprint",
        ),
        "finish_reason": ("gen_ai.response.finish_reasons",),
        "conversation_id": ("gen_ai.conversation.id", "session.id"),
        "user_id": ("user.id", "enduser.id"),
        "agent": ("gen_ai.agent.name",),
        "workflow": ("gen_ai.workflow.name",),
        "service_version": ("gen_ai.agent.version",),
        "tool": ("gen_ai.tool.name",),
        "tool_call_id": ("gen_ai.tool.call.id",),
        "tool_arguments": ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments", "gen_ai.tool.input"),
        "tool_result": ("gen_ai.tool.call.result", "gen_ai.tool.result", "gen_ai.tool.output"),
        "system_instructions": ("gen_ai.system_instructions",),
        "input_messages": ("gen_ai.input.messages",),
        "output_messages": ("gen_ai.output.messages",),
        "tool_definitions": ("gen_ai.tool.definitions", "gen_ai.request.tools"),
        "tool_schema": ("gen_ai.tool.json_schema",),
        "error_type": ("error.type",),
        "documents": ("gen_ai.retrieval.documents",),
        "input": ("gen_ai.retrieval.query.text",),
    },
    numbers={
        "input_tokens": ("gen_ai.usage.input_tokens",),
        "output_tokens": ("gen_ai.usage.output_tokens",),
        "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens",),
        "cache_write_tokens": (
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
        ),
        "reasoning_tokens": (
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.output_tokens_details.reasoning_tokens",
            "gen_ai.usage.output_tokens_details.reasoning",
            "gen_ai.usage.completion_tokens_details.reasoning_tokens",
            "gen_ai.usage.output_tokens.reasoning",
            "gen_ai.usage.output_reasoning_tokens",
            "gen_ai.usage.thinking_tokens",
            "gen_ai.usage.thoughts_tokens",
        ),
        "http_status": ("http.response.status_code", "http.status_code"),
        "retries": ("http.request.resend_count",),
        "cost_usd": ("gen_ai.usage.cost", "gen_ai.usage.cost_usd", "gen_ai.usage.total_cost"),
    },
    durations={
        "time_to_first_token_ns": {
            "gen_ai.response.time_to_first_chunk": 1e9,
            "gen_ai.client.operation.time_to_first_chunk": 1e9,
            "gen_ai.server.time_to_first_token": 1e9,
            # Seen in the wild, in the words of the metric.
            **{
                f"{prefix}.time_to_first_token{suffix}": unit
                for prefix in _FIRST_TOKEN_PREFIXES
                for suffix, unit in (("", 1e9), ("_ms", 1e6))
            },
            "gen_ai.response.time_to_first_chunk_ms": 1e6,
            "gen_ai.server.time_to_first_token_ms": 1e6,
        }
    },
    first_token_events=("gen_ai.first_token", "gen_ai.response.first_token", "first_token"),
    error_flags={"gen_ai.tool.status": "error"},
)
