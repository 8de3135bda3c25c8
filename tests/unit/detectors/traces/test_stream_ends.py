"""A streamed answer without its end: what that says depends on who recorded it."""

from __future__ import annotations

import pytest

from tests.scenario.dialects import genai_llm, says
from tests.telemetry import seen, spans_request

OPENINFERENCE = "openinference.instrumentation.openai"
LANGFUSE = "langfuse-sdk"


def severity(scope: tuple[str, str], text: str, name: str = "chat", *, streamed: bool = True) -> str | None:
    """Of the finding about one answer that has neither a finish reason nor tokens."""
    attributes = {"gen_ai.usage.output_tokens": None, "gen_ai.request.stream": streamed}
    span = genai_llm(1, said=[says(text)], finish=None, attributes=attributes)
    span.name = name
    found = seen([spans_request([span], scope_of=scope)]).observations.values()
    return next((row["severity"] for row in found if row["rule"] == "interrupted_stream"), None)


@pytest.mark.parametrize(
    "scope",
    [
        (OPENINFERENCE, "0.1.46"),
        ("opentelemetry.instrumentation.openai.v1", "0.62.4"),
        ("opentelemetry.instrumentation.genai.openai", "1.3b0"),
        ("ai", ""),
        (OPENINFERENCE, "9" * 5000),
    ],
)
def test_of_one_that_records_ends_it_broke_off(scope: tuple[str, str]) -> None:
    assert severity(scope, "It is sunny.") == "warning"
    assert severity(scope, "") == "warning"
    assert severity(scope, "It is sunny.", streamed=False) == "info"


@pytest.mark.parametrize("scope", [(OPENINFERENCE, "0.1.45"), (OPENINFERENCE, ""), ("ours", "1.0")])
def test_of_any_other_it_says_nothing(scope: tuple[str, str]) -> None:
    assert severity(scope, "It is sunny.") is None


def test_of_langfuse_the_wrapper_around_the_client_records_ends() -> None:
    assert severity((LANGFUSE, "5.0.4"), "It is sunny.", "OpenAI-generation") == "warning"
    assert severity((LANGFUSE, "4.0.0"), "It is sunny.", "OpenAI-generation") is None
    assert severity((LANGFUSE, "5.0.4"), "It is sunny.", "ChatOpenAI") is None


def test_an_answer_cut_in_its_middle_speaks_for_itself() -> None:
    assert severity(("ours", "1.0"), "The weather in ") == "warning"
    assert severity(("ours", "1.0"), "The weather in ", streamed=False) == "info"
    assert severity(("ours", "1.0"), "The weather is fine ") == "info"
