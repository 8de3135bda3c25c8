"""pydantic-ai and Logfire: OpenTelemetry GenAI plus `agent_name`, `tool_response`, `pydantic_ai.*`."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="pydantic_ai",
    kind_if_present={"pydantic_ai.all_messages": "agent", "tool_response": "tool", "agent_name": "agent"},
    texts={
        "agent": ("agent_name",),
        "request_model": ("model_name",),
        "tool_arguments": ("tool_arguments",),
        "tool_result": ("tool_response",),
        "input": ("request_data",),
        "output": ("final_result", "response_data"),
        "all_messages": ("pydantic_ai.all_messages", "all_messages_events"),
        "tool_definitions": ("model_request_parameters",),
    },
    numbers={
        "cache_read_tokens": ("gen_ai.usage.details.cache_read_tokens",),
        "reasoning_tokens": ("gen_ai.usage.details.reasoning_tokens",),
        "cost_usd": ("operation.cost",),
    },
)
