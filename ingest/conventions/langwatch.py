"""LangWatch SDK: `langwatch.*`, values in a JSON envelope that says their type."""

from ingest.conventions.base import Convention

CONVENTION = Convention(
    name="langwatch",
    kind_attribute="langwatch.span.type",
    kinds={
        "llm": "llm",
        "tool": "tool",
        "agent": "agent",
        "chain": "chain",
        "workflow": "workflow",
        "component": "chain",
        "module": "chain",
        "task": "chain",
        "rag": "retriever",
        "guardrail": "guardrail",
        "evaluation": "evaluator",
        "span": "chain",
    },
    texts={
        "conversation_id": ("langwatch.thread.id",),
        "user_id": ("langwatch.user.id",),
        "tool_definitions": ("langwatch.params",),
        "input": ("langwatch.input",),
        "output": ("langwatch.output",),
        "documents": ("langwatch.contexts", "langwatch.rag.contexts"),
    },
    json_numbers={
        "langwatch.metrics": {
            "prompt_tokens": "input_tokens",
            "completion_tokens": "output_tokens",
            "reasoning_tokens": "reasoning_tokens",
            "cost": "cost_usd",
        }
    },
)
