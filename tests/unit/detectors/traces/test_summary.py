"""Trace rows, effective status, and ids of observations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.telemetry import SECOND, Span, agent, chat, judged, seen, spans_request, tool


def test_a_trace_row_says_what_happened() -> None:
    row = judged(
        agent(1, seconds=10),
        chat(2, 1, start=1, seconds=2),
        tool(3, 1, start=3, seconds=1, result='{"error": "upstream timed out"}'),
        chat(4, 1, start=5, seconds=2),
    ).trace
    assert (row["spans"], row["steps"], row["tool_calls"], row["failed_tool_calls"]) == (4, 2, 1, 1)
    assert (row["input_tokens"], row["output_tokens"]) == (2000, 200)
    assert (row["reported_status"], row["effective_status"], row["outcome"]) == ("unset", "error", "degraded")
    assert (row["duration_ns"], row["model_ns"], row["tool_ns"]) == (10 * SECOND, 4 * SECOND, SECOND)
    assert row["waiting_ns"] == 5 * SECOND
    assert (row["name"], row["agent"], row["service"], row["models"]) == ("invoke_agent a", "a", "shop", ["gpt-4o"])
    assert row["complete"]
    assert row["rules"] == ["silent_tool_failure"]


def test_time_at_work_in_parallel_is_not_waited_twice() -> None:
    row = judged(
        agent(1, seconds=10),
        tool(2, 1, start=1, seconds=4),
        tool(3, 1, start=2, seconds=1),
        tool(4, 1, start=4, seconds=3),
    ).trace
    assert (row["tool_ns"], row["waiting_ns"]) == (8 * SECOND, 4 * SECOND)


@pytest.mark.parametrize(
    ("spans", "outcome"),
    [
        ([agent(1), chat(2, 1)], "ok"),
        ([agent(1), chat(2, 1, error="overloaded")], "failed"),
        ([agent(1, error="gave up"), chat(2, 1)], "failed"),
        ([agent(1, seconds=9), chat(2, 1, error="overloaded"), chat(3, 1, start=2)], "rescued"),
        ([agent(1, seconds=9), tool(2, 1, error="boom"), chat(3, 1, start=2)], "degraded"),
        ([chat(2, 1), tool(3, 1, start=2)], "incomplete"),
    ],
)
def test_outcomes(spans: list[Span], outcome: str) -> None:
    assert judged(*spans).trace["outcome"] == outcome


def test_runs_are_found_by_conversation_then_by_link() -> None:
    talk = {"gen_ai.conversation.id": "talk-1"}
    result = judged(
        chat(1, attributes=talk), chat(1, attributes=talk, trace=2), chat(1, trace=3, links=[1]), chat(1, trace=4)
    )
    runs = {int(row["trace_id"], 16): row["run_id"] for row in result.traces.values()}
    assert runs == {1: "talk-1", 2: "talk-1", 3: f"{1:032x}", 4: f"{4:032x}"}


@pytest.mark.parametrize(
    ("span", "status"),
    [
        (chat(2, 1), ("ok", "")),
        (chat(2, 1, error="overloaded"), ("error", "llm_error")),
        (chat(2, 1, {"gen_ai.response.finish_reasons": ["content_filter"]}), ("error", "filtered_output")),
        (tool(2, 1), ("ok", "")),
        (tool(2, 1, error="boom"), ("error", "tool_error")),
        (tool(2, 1, result='{"isError": true, "content": "no such file"}'), ("error", "silent_tool_failure")),
        (
            Span(2, 1, "execute_tool f", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f"}),
            ("unknown", ""),
        ),
        (Span(2, 1, "SELECT", {"db.system": "postgresql"}, error="deadlock"), ("error", "reported")),
    ],
)
def test_effective_status(span: Span, status: tuple[str, str]) -> None:
    row: dict[str, Any] = judged(agent(1, seconds=9), span).span(2)
    assert (row["effective_status"], row["effective_reason"]) == status


def test_the_same_fact_has_the_same_id() -> None:
    spans = [agent(1), tool(2, 1, error="boom")]
    first, again = judged(*spans), judged(*reversed(spans))
    assert first.observations.keys() == again.observations.keys()
    assert len(first.observations) == 1


def test_without_a_service_and_without_a_resource_a_trace_is_a_trace() -> None:
    row = seen([spans_request([agent(1), chat(2, 1)], resource={})]).trace
    assert (row["service"], row["spans"], row["outcome"]) == ("", 2, "ok")
