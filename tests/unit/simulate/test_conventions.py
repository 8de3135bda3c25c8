"""Each fault is in the telemetry of each convention that can show it, and nothing in that of a normal run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dimwatch.simulate.agents import FLEET
from dimwatch.simulate.agents.base import Agent
from dimwatch.simulate.build import build_run
from dimwatch.simulate.conventions import CONVENTIONS
from dimwatch.simulate.faults import DEFAULT_SHARES, HIDDEN
from dimwatch.simulate.models import NS
from dimwatch.simulate.rng import stream
from dimwatch.simulate.runs import Run

START = 1_770_000_000 * NS
AGENTS = {agent.convention: agent for agent in FLEET}
SEEDS = 12


def _runs(agent: Agent, fault: str) -> Iterator[Run]:
    for seed in range(SEEDS):
        run = build_run(agent, stream(fault, seed), START, conversation_id="c-1", user_id="u-1", fault=fault)
        assert run.faults == ((fault,) if fault else ())
        yield run


def _texts(value: AnyValue) -> Iterator[str]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        for item in value.array_value.values:
            yield from _texts(item)
    elif kind == "kvlist_value":
        for entry in value.kvlist_value.values:
            yield from _texts(entry.value)
    elif kind is not None:
        yield str(getattr(value, kind))


class Telemetry:
    """What one run looks like on the wire."""

    def __init__(self, run: Run) -> None:
        items = list(CONVENTIONS[run.agent.convention].emit(run))
        self.spans = [Span.FromString(item.payload) for item in items if item.signal == "traces"]
        self.logs = [LogRecord.FromString(item.payload) for item in items if item.signal == "logs"]
        self.text = "\n".join(
            [
                *(text for span in self.spans for a in span.attributes for text in (a.key, *_texts(a.value))),
                *(text for log in self.logs for text in _texts(log.body)),
            ]
        )
        self.errors = [span for span in self.spans if span.status.code == Status.STATUS_CODE_ERROR]
        self.roots = [span for span in self.spans if not span.parent_span_id]


def _shown(fault: str, run: Run, seen: Telemetry) -> bool:
    calls = list(run.tool_calls())
    match fault:
        case "tool_error":
            spoiled = next(call for call in calls if call.failure)
            return any(span.span_id == spoiled.span_id for span in seen.errors)
        case "silent_tool_failure":
            words = (
                "Error: ",
                "isError",
                '"error"',
                "'error'",
                "502 Bad Gateway",
                "timed out",
                "Traceback",
                "code",
            )
            return not seen.errors and any(word in seen.text for word in words)
        case "empty_tool_result":
            return not seen.errors
        case "invalid_tool_call":
            wrong = next(call for call in calls if call.failure)
            return wrong.name in seen.text and "Error" in seen.text
        case "tool_loop":
            return max(seen.text.count(call.arguments) for call in calls) >= 3 or len(calls) >= 4
        case "llm_error" | "rescued_failure":
            failed = [step.span_id for step in run.steps if step.failure] or [
                call.span_id for call in calls if call.failure
            ]
            rescued = seen.roots[0].status.code != Status.STATUS_CODE_ERROR
            return any(span.span_id in failed for span in seen.errors) and (fault == "llm_error" or rescued)
        case "truncated_output":
            return "length" in seen.text
        case "filtered_output":
            return "content_filter" in seen.text or "content-filter" in seen.text
        case "empty_output":
            return not run.answer and not seen.errors
        case "interrupted_stream":
            return run.steps[-1].interrupted and str(run.steps[-1].output_tokens) not in seen.text.split("\n")
        case "model_mismatch":
            return run.steps[0].model.other_family in seen.text
        case "stalled_trace":
            ends = sorted(span.end_time_unix_nano for span in seen.spans)
            return max(b - a for a, b in pairwise(ends)) > 200 * NS
        case "incomplete_trace":
            return not seen.roots
    raise AssertionError(fault)


@pytest.mark.parametrize(
    ("convention", "fault"),
    [
        (convention, fault)
        for convention in CONVENTIONS
        for fault in DEFAULT_SHARES
        if fault not in HIDDEN.get(convention, ())
    ],
)
def test_fault_is_in_the_telemetry(convention: str, fault: str) -> None:
    for run in _runs(AGENTS[convention], fault):
        assert _shown(fault, run, Telemetry(run))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_normal_run_says_what_happened_and_nothing_else(convention: str) -> None:
    for run in _runs(AGENTS[convention], ""):
        seen = Telemetry(run)
        assert not seen.errors
        assert len(seen.roots) == 1
        assert run.question in seen.text
        assert run.answer in seen.text
        assert run.user_id in seen.text
        for step in run.steps:
            assert str(step.input_tokens) in seen.text
            assert step.answered in seen.text
        for call in run.tool_calls():
            assert call.name in seen.text
            assert call.tool is not None
            assert call.tool.description in seen.text or convention == "otel_genai_logs"
            assert call.arguments in seen.text or call.arguments.replace('"', '\\"') in seen.text


def test_fleet_speaks_every_convention() -> None:
    assert {agent.convention for agent in FLEET} == set(CONVENTIONS)
    assert len({agent.service for agent in FLEET}) == 6
