"""Strange traces: judged whole, and in time that grows with their size."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.traces.batch import NONE
from detectors.traces.lookup import first_row_from, next_in_group
from tests.telemetry import Span, Value, agent, chat, judged, tool

COUNT = 4_000
HTTP: dict[str, Value] = {"http.request.method": "GET", "http.response.status_code": 500}
SHAPES: dict[str, Callable[[int], list[Span]]] = {
    "failing requests": lambda n: [agent(1, seconds=n), *(Span(i, 1, "GET", HTTP, start=i) for i in range(2, n))],
    "failing tools": lambda n: [agent(1, seconds=n), *(tool(i, 1, start=i, error="boom") for i in range(2, n))],
    "failing, then not": lambda n: [
        agent(1, seconds=n),
        *(tool(i, 1, start=i, error="boom" if i < n // 2 else None) for i in range(2, n)),
    ],
    "failing models": lambda n: [
        agent(1, seconds=n),
        *(chat(i, 1, start=2 * i, error="overloaded" if i < n // 2 else None) for i in range(2, n)),
    ],
    "failing steps": lambda n: [
        agent(1, seconds=n),
        *(Span(2 * i, 1, start=i, error="x") for i in range(2, n // 2)),
        *(chat(2 * i + 1, 2 * i, start=i, seconds=0.5, error="overloaded") for i in range(2, n // 2)),
    ],
    "many loops": lambda n: [
        agent(1, seconds=n),
        *(tool(i, 1, name=f"tool{i // 4}", start=i) for i in range(2, n)),
    ],
    "chain": lambda n: [chat(i + 1, i, start=i, seconds=2 * n - 2 * i) for i in range(n)],
    "circle": lambda n: [chat(i + 1, (i + 1) % n + 1, start=i, error="x") for i in range(n)],
    "own parents": lambda n: [chat(i + 1, i + 1, start=i) for i in range(n)],
    "all at once": lambda n: [chat(i + 1, 1 if i else 0, seconds=0.0, error="x" if i % 2 else None) for i in range(n)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_span_of_a_strange_trace_comes_out_once(shape: str) -> None:
    spans = SHAPES[shape](300)
    result = judged(*spans)
    assert len(result.spans) == result.arrived == len(spans)
    assert result.trace["spans"] == len(spans)
    assert not result.dropped
    assert not result.malformed


@pytest.mark.parametrize("shape", SHAPES)
def test_time_grows_with_the_number_of_spans(shape: str) -> None:
    def seconds(spans: Sequence[Span]) -> float:
        started = time.process_time()
        judged(*spans)
        return time.process_time() - started

    small, large = SHAPES[shape](COUNT // 8), SHAPES[shape](COUNT)
    seconds(small)
    assert seconds(large) < 16 * seconds(small) + 1.0  # by the square it is 64 times, and seconds


def test_the_same_span_ids_in_other_traces_are_other_spans() -> None:
    spans = [span for trace in range(1, 6) for span in (agent(1, trace=trace), chat(2, 1, trace=trace))]
    result = judged(*spans)
    assert len(result.spans) == 10
    assert len(result.traces) == 5
    assert {(row["spans"], row["steps"], row["input_tokens"]) for row in result.traces.values()} == {(2, 1, 1000)}


def test_a_span_sent_again_with_other_content_is_one_span() -> None:
    result = judged(agent(1), chat(2, 1), chat(2, 1, {"gen_ai.usage.input_tokens": 7}))
    assert (result.trace["spans"], result.trace["steps"], result.trace["input_tokens"]) == (2, 1, 7)


GROUPS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)


@given(GROUPS)
def test_next_in_group_is_the_next_in_the_group(rows: list[tuple[int, bool]]) -> None:
    group = np.array([number for number, _ in rows], dtype=np.int64)
    wanted = np.array([is_wanted for _, is_wanted in rows], dtype=np.bool_)
    expected = [
        next((j for j in range(i + 1, len(rows)) if group[j] == group[i] and wanted[j]), NONE) for i in range(len(rows))
    ]
    assert next_in_group(group, wanted).tolist() == expected


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 20)), max_size=12),
    st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 25)), max_size=6),
)
def test_first_row_from_is_the_first_row(owned: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    columns = [np.array(column, dtype=np.int64) for column in ([o for o, _ in owned], [r for _, r in owned])]
    wanted = [np.array(column, dtype=np.int64) for column in ([o for o, _ in asked], [r for _, r in asked])]
    expected = [
        min((row for owner, row in owned if owner == of != NONE and row >= least), default=NONE) for of, least in asked
    ]
    assert first_row_from(*columns, *wanted).tolist() == expected
