"""Traces are judged alike, whichever are judged together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dimwatch.app.pipeline import Pipeline
from dimwatch.settings import Settings
from tests.scenario.dialects import genai_llm, openinference_llm, says
from tests.scenario.test_near_misses import QUIET
from tests.scenario.test_rules import FOUND
from tests.telemetry import START_NS, Seen, Span, Value, spans_request

_STREAMED: dict[str, Value] = {"gen_ai.request.stream": True}
_NO_END: dict[str, Value] = {
    "llm.token_count.completion": None,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "It is sunny.",
}
STREAMS: list[list[Span]] = [
    [genai_llm(1, said=[says("It is sunny.")], attributes=_STREAMED)],
    [openinference_llm(1, attributes=_STREAMED | _NO_END)],
    [openinference_llm(1, attributes=_NO_END)],
    [genai_llm(1, attributes=_STREAMED), openinference_llm(2, start=2, attributes=_STREAMED | _NO_END)],
]
"""Of one instrumentation: answers with their end and without, in traces of their own and in one."""
TRACES: list[list[Span]] = [
    [replace(span, trace=number) for span in trace]
    for number, trace in enumerate(
        [*STREAMS, *(trace for cases in (FOUND, QUIET) for by_rule in cases.values() for trace in by_rule.values())], 1
    )
]
Observations = dict[str, dict[str, Any]]


def observations(traces: Iterable[list[Span]]) -> Observations:
    """Of traces that are judged together."""
    pipeline, seen = Pipeline(Settings()), Seen()
    requests = [spans_request(trace, received_ns=START_NS) for trace in traces]
    seen.take(pipeline.add(requests, [], now_ns=START_NS, record=0))
    seen.take(pipeline.flush())
    return seen.observations


@cache
def together() -> Observations:
    return observations(TRACES)


@given(st.lists(st.integers(0, 3), min_size=len(TRACES), max_size=len(TRACES)))
@settings(max_examples=4, deadline=None, phases=[Phase.generate])
def test_it_does_not_matter_which_are_judged_together(batch_of: list[int]) -> None:
    batches = defaultdict(list)
    for number, trace in zip(batch_of, TRACES, strict=True):
        batches[number].append(trace)
    apart = {id_: row for batch in batches.values() for id_, row in observations(batch).items()}
    assert apart == together()


def test_a_stream_without_its_end_is_judged_by_its_own_trace() -> None:
    for number, severity in ((1, None), (2, None), (3, None), (4, "warning")):
        found = [row["severity"] for row in observations(TRACES[number - 1 : number]).values()]
        told = [row["severity"] for row in together().values() if int(row["trace_id"], 16) == number]
        assert found == told == ([] if severity is None else [severity])


def test_there_is_something_to_compare() -> None:
    assert {row["rule"] for row in together().values()} == FOUND.keys()
