"""The same telemetry gives the same result, in whatever order and packets it comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.windows.points import merged, merged_sightings
from dimwatch.app.pipeline import Pipeline
from dimwatch.settings import Settings
from tests.telemetry import START_NS, Seen, Span, agent, chat, document, logs_request, spans_request, tool

UNHURRIED = settings(deadline=None, max_examples=60)
CALL = {"role": "assistant", "tool_calls": [{"id": "call_2", "function": {"name": "lookup", "arguments": "{}"}}]}
TRACES: list[Span] = [
    agent(1, seconds=20),
    chat(2, 1, start=1),
    tool(3, 1, start=3, result='{"error": "upstream timed out"}'),
    chat(4, 1, {"gen_ai.output.messages": document({"role": "assistant", "content": "All done."})}, start=5),
    # a model call traced by a framework and by its client; a failure, and its retry
    agent(1, trace=2, seconds=20),
    chat(2, 1, trace=2, start=1, seconds=4),
    chat(3, 2, trace=2, start=2, seconds=2),
    chat(4, 1, trace=2, start=6, error="overloaded"),
    chat(5, 1, trace=2, start=8),
    # a client's span that says less than the framework's around it
    chat(1, trace=3, attributes={"gen_ai.output.messages": document(CALL)}, seconds=9),
    chat(2, 1, {"gen_ai.usage.output_tokens": None, "gen_ai.response.finish_reasons": None}, trace=3, start=1),
    # the same tool again and again, and a root that never comes
    *(tool(number, 99, trace=4, start=number) for number in range(2, 8)),
    # nothing of it is about models
    Span(1, 0, "GET /basket", {"http.request.method": "GET", "http.response.status_code": 200}, trace=5),
    Span(2, 1, "SELECT basket", {"db.system": "postgresql"}, trace=5, start=0.1, seconds=0.2),
]
LOGS = logs_request(
    [
        ("gen_ai.user.message", 2, {}, {"content": "What now?"}),
        ("gen_ai.choice", 2, {}, {"index": 0, "finish_reason": "length", "message": {"content": "Well,"}}),
    ]
)


def told(result: Seen) -> dict[str, Any]:
    """All that people see, without the times at which rows were written."""
    without = {"version", "received_time"}
    windows = merged(result.points).to_pylist(), merged_sightings(result.sightings).to_pylist()
    return {"windows": windows} | {
        name: {key: {k: v for k, v in row.items() if k not in without} for key, row in rows.items()}
        for name, rows in (("spans", result.spans), ("traces", result.traces), ("observations", result.observations))
    }


def run(packets: list[list[Span]], steps: list[int], *, logs_at: int = 0, doubled: bool = False) -> Seen:
    """Send each packet as a request, `steps` requests at a time, the logs before request `logs_at`."""
    result, pipeline = Seen(), Pipeline(Settings())
    requests = [spans_request(packet, received_ns=START_NS + number) for number, packet in enumerate(packets)]
    if doubled:
        requests += [spans_request(packet, received_ns=START_NS + len(packets)) for packet in packets]
    at, number = 0, 0
    while at < len(requests):
        taken = requests[at : at + steps[number % len(steps)]]
        logs = [LOGS] if at <= logs_at < at + len(taken) else []
        result.take(pipeline.add(taken, logs, now_ns=taken[-1].received_ns, record=number))
        at, number = at + len(taken), number + 1
    result.take(pipeline.flush())
    return result


EXPECTED = run([TRACES], [1])


@st.composite
def deliveries(draw: Any) -> tuple[list[list[Span]], list[int], int]:
    """Some order, some packets, some steps."""
    order = draw(st.permutations(TRACES))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), max_size=8)))
    packets = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return packets, draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)), draw(st.integers(0, len(packets) - 1))


@UNHURRIED
@given(deliveries())
def test_order_and_packets_do_not_matter(delivery: tuple[list[list[Span]], list[int], int]) -> None:
    packets, steps, logs_at = delivery
    assert told(run(packets, steps, logs_at=logs_at)) == told(EXPECTED)


@UNHURRIED
@given(deliveries())
def test_sending_twice_changes_nothing(delivery: tuple[list[list[Span]], list[int], int]) -> None:
    packets, steps, _ = delivery
    assert told(run(packets, steps, doubled=True)) == told(EXPECTED)


def test_what_was_sent_is_there_once() -> None:
    assert len(EXPECTED.spans) == EXPECTED.arrived == len(TRACES)
    assert sum(row["spans"] for row in EXPECTED.traces.values()) == len(TRACES)
    assert EXPECTED.dropped == {}
    assert {row["trace_id"][-1]: row["spans"] for row in EXPECTED.traces.values()} == {
        "1": 4, "2": 5, "3": 2, "4": 6, "5": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trace", "steps", "input_tokens"), [(1, 2, 2000), (2, 3, 3000), (3, 1, 1000), (4, 0, 0), (5, 0, 0)]
)
def test_each_model_call_counts_once(trace: int, steps: int, input_tokens: int) -> None:
    (row,) = (row for row in EXPECTED.traces.values() if int(row["trace_id"], 16) == trace)
    counted = [r for r in EXPECTED.spans.values() if r["trace_id"] == row["trace_id"] and r["counted"]]
    assert (row["steps"], row["input_tokens"]) == (steps, input_tokens)
    assert sum(r["input_tokens"] or 0 for r in counted) == input_tokens
    assert sum(r["cost_usd"] for r in counted) == pytest.approx(row["cost_usd"])


def test_telemetry_without_models_is_taken_quietly() -> None:
    assert not [row for row in EXPECTED.observations.values() if int(row["trace_id"], 16) == 5]
