"""The simulated fleet: the same again from the same seed, honest labels, and telemetry that holds together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import orjson
import pytest
from jsonschema import Draft202012Validator
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dimwatch.errors import InvalidError
from dimwatch.simulate import options
from dimwatch.simulate.agents import FLEET
from dimwatch.simulate.export import MAX_BATCH
from dimwatch.simulate.faults import DEFAULT_SHARES, HIDDEN
from dimwatch.simulate.fleet import Fleet, Label, diurnal
from dimwatch.simulate.models import NS
from dimwatch.simulate.rng import stream
from dimwatch.simulate.runs import Run
from dimwatch.simulate.scenario import Kind

START = 1_770_000_000 * NS


def _fleet(seconds: int = 120, rate: float = 5.0, **more: object) -> Fleet:
    return Fleet(7, START, START + seconds * NS, rate, **more)  # type: ignore[arg-type]


def _labels(fleet: Fleet) -> list[Label]:
    for _ in fleet.requests():
        pass
    return fleet.take_labels()


def _spans(fleet: Fleet) -> list[Span]:
    return [
        span
        for export in fleet.requests()
        if export.signal == "traces"
        for resource in ExportTraceServiceRequest.FromString(export.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_same_seed_start_and_length_give_the_same_bytes() -> None:
    first = list(_fleet().requests())
    assert first == list(_fleet().requests())
    other = Fleet(8, START, START + 120 * NS, 5.0)
    assert first != list(other.requests())


def test_requests_come_in_order_of_time_and_in_batches() -> None:
    exports = list(_fleet(rate=200, seconds=30).requests())
    assert [export.due_ns for export in exports] == sorted(export.due_ns for export in exports)
    assert max(export.items for export in exports) == MAX_BATCH


def test_every_span_arrives_once_with_sane_times_and_its_parent() -> None:
    fleet = _fleet(seconds=300)
    labels = {label.trace_id: label for label in _labels(_fleet(seconds=300))}
    spans = _spans(fleet)
    assert len(spans) == fleet.spans
    known = {span.span_id for span in spans}
    assert len(known) == len(spans)
    roots: Counter[str] = Counter()
    for span in spans:
        trace = span.trace_id.hex()
        assert START <= span.start_time_unix_nano + 1_000 < START + 300 * NS
        assert span.start_time_unix_nano <= span.end_time_unix_nano < START + 300 * NS
        incomplete = "incomplete_trace" in labels[trace].faults
        assert not span.parent_span_id or span.parent_span_id in known or incomplete
        roots[trace] += not span.parent_span_id
    assert all((roots[trace] == 0) == ("incomplete_trace" in label.faults) for trace, label in labels.items())
    assert max(roots.values()) == 1


def test_children_end_inside_their_parents() -> None:
    spans = {span.span_id: span for span in _spans(_fleet())}
    for span in spans.values():
        parent = spans.get(span.parent_span_id)
        if parent is not None:
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano


def test_traces_have_the_size_of_real_ones() -> None:
    sizes = Counter(span.trace_id for span in _spans(_fleet(shares=options.fault_shares(["none"]))))
    assert min(sizes.values()) >= 3
    assert max(sizes.values()) <= 18
    assert len(sizes) > 200


def test_log_records_belong_to_spans() -> None:
    spans = {(span.trace_id, span.span_id) for span in _spans(_fleet())}
    records = [
        record
        for export in _fleet().requests()
        if export.signal == "logs"
        for resource in ExportLogsServiceRequest.FromString(export.body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert records
    assert all((record.trace_id, record.span_id) in spans for record in records)
    assert {"gen_ai.user.message", "gen_ai.tool.message", "gen_ai.choice"} <= {r.event_name for r in records}


def test_labels_have_the_shares_that_were_asked_for() -> None:
    shares = options.fault_shares(["none", "tool_error=0.2", "truncated_output=0.1"])
    labels = _labels(_fleet(seconds=600, rate=8, shares=shares))
    counts = Counter(fault for label in labels for fault in label.faults)
    assert set(counts) == {"tool_error", "truncated_output"}
    assert counts["tool_error"] / len(labels) == pytest.approx(0.2, abs=0.03)
    able = [label for label in labels if "truncated_output" not in HIDDEN.get(label.convention, ())]
    assert counts["truncated_output"] / len(able) == pytest.approx(0.1, abs=0.03)


def test_default_faults_all_happen_within_an_hour() -> None:
    counts = Counter(fault for label in _labels(_fleet(seconds=3600, rate=2)) for fault in label.faults)
    assert set(counts) == set(DEFAULT_SHARES)


def test_normal_arguments_keep_the_schemas() -> None:
    rng = stream("schemas")
    for agent in FLEET:
        for tool in agent.tools:
            validator = Draft202012Validator(tool.parameters)
            for _ in range(50):
                arguments = orjson.loads(orjson.dumps(tool.arguments(rng)))
                validator.validate(arguments)
                orjson.dumps(tool.result(rng, arguments))


def test_brownout_slows_one_provider_and_makes_calls_fail() -> None:
    scenario = options.scenario(START, ["brownout:openai@60+60s"])
    quiet = options.fault_shares(["none"])
    calls: dict[bool, list[float]] = {True: [], False: []}
    failed = 0
    for _, runs in _fleet(seconds=240, rate=10, shares=quiet, scenario=scenario).runs():
        for run in runs:
            for step in run.steps:
                if step.model.provider != "openai":
                    assert step.failure is None
                    continue
                inside = START + 60 * NS <= step.start_ns < START + 120 * NS
                failed += step.failure is not None
                if step.failure is None:
                    calls[inside].append((step.end_ns - step.start_ns) / max(step.output_tokens, 20))
    assert failed > 20
    assert sum(calls[True]) / len(calls[True]) > 2.5 * sum(calls[False]) / len(calls[False])


def test_model_change_and_empty_tool_begin_when_scheduled() -> None:
    scenario = options.scenario(START, ["model_change:gpt-4.1=gpt-4.1-nano@60", "empty_tool:search_flights@60"])
    runs = [
        run
        for _, runs in _fleet(seconds=180, shares=options.fault_shares(["none"]), scenario=scenario).runs()
        for run in runs
    ]
    answers = {(s.start_ns >= START + 60 * NS, s.answered) for r in runs for s in r.steps if s.model.name == "gpt-4.1"}
    assert answers == {(False, "gpt-4.1-2025-04-14"), (True, "gpt-4.1-nano")}
    found = {
        (call.start_ns >= START + 60 * NS, bool(call.result))
        for run in runs
        for call in run.tool_calls()
        if call.name == "search_flights"
    }
    assert found == {(False, True), (True, False)}


def test_traffic_follows_the_day() -> None:
    hours = [diurnal(hour * 3600 * NS) for hour in range(24)]
    assert sum(hours) / 24 == pytest.approx(1, abs=0.01)
    assert max(hours) / min(hours) > 1.5


@pytest.mark.parametrize(
    "texts", [["nonsense=0.1"], ["tool_error=2"], ["tool_error"], ["tool_error=0.6", "tool_loop=0.6"]]
)
def test_wrong_faults_are_explained(texts: list[str]) -> None:
    with pytest.raises(InvalidError, match=r"fault|share"):
        options.fault_shares(texts)


@pytest.mark.parametrize(
    "text",
    [
        "brownout:openai", "brownout:nobody@2m", "brownout:openai@soon", "gloom:openai@2m", "openai@2m",
        "model_change:gpt-4.1@2m", "silence:openai@2m",
    ],
)  # fmt: skip
def test_wrong_effects_are_explained(text: str) -> None:
    with pytest.raises(InvalidError, match=r"lacks its time|unknown|not a duration|not a model change"):
        options.scenario(START, [text])


def _measured(kind: Kind, where: str) -> tuple[float, float]:
    """What the effect changes, with it and without it."""
    measure: dict[Kind, Callable[[Run], Iterable[float]]] = {
        Kind.OUTAGE: lambda run: [step.failure is not None for step in run.steps if step.model.provider == where],
        Kind.PROVIDER_ERRORS: lambda run: [
            step.failure is not None for step in run.steps if step.model.provider == where
        ],
        Kind.REASONING: lambda run: [step.output_tokens for step in run.steps if step.model.name == where],
        Kind.TRUNCATION: lambda run: [run.steps[-1].finish == "length"] if run.steps[-1].model.name == where else [],
        Kind.SLOW_TOOL: lambda run: [call.end_ns - call.start_ns for call in run.tool_calls() if call.name == where],
        Kind.SWALLOWED_ERRORS: lambda run: ["silent_tool_failure" in run.faults],
        Kind.SILENCE: lambda run: [run.agent.name == where],
        Kind.LOOPS: lambda run: ["tool_loop" in run.faults] if run.agent.name == where else [],
        Kind.INVALID_CALLS: lambda run: ["invalid_tool_call" in run.faults] if run.agent.name == where else [],
    }
    sides = []
    for effects in ([f"{kind}:{where}@0"], []):
        scenario = options.scenario(START, effects)
        fleet = _fleet(seconds=300, rate=10, shares=options.fault_shares(["none"]), scenario=scenario)
        values = [float(value) for _, runs in fleet.runs() for run in runs for value in measure[kind](run)]
        sides.append(sum(values) / len(values))
    return sides[0], sides[1]


@pytest.mark.parametrize(
    ("kind", "where", "least", "most"),
    [
        (Kind.OUTAGE, "openai", 0.9, 1.0),
        (Kind.PROVIDER_ERRORS, "openai", 0.05, 0.12),
        (Kind.TRUNCATION, "gpt-4.1", 0.05, 0.2),
        (Kind.SWALLOWED_ERRORS, "search_flights", 0.005, 0.15),
        (Kind.LOOPS, "support_triage", 0.05, 0.15),
        (Kind.INVALID_CALLS, "support_triage", 0.12, 0.28),
    ],
)
def test_an_effect_makes_things_fail(kind: Kind, where: str, least: float, most: float) -> None:
    with_effect, without = _measured(kind, where)
    assert least < with_effect < most
    assert without == 0


@pytest.mark.parametrize(
    ("kind", "where", "ratio"),
    [(Kind.REASONING, "gpt-4.1", 3.0), (Kind.SLOW_TOOL, "search_flights", 2.2), (Kind.SILENCE, "support_triage", 0.0)],
)
def test_an_effect_changes_an_amount(kind: Kind, where: str, ratio: float) -> None:
    with_effect, without = _measured(kind, where)
    assert with_effect / without == pytest.approx(ratio, rel=0.25, abs=0.001)


def test_times_are_read_as_people_write_them() -> None:
    assert options.duration_ns("1.5m") == 90 * NS
    assert options.start_ns("6h", START) == START - 6 * 3600 * NS
    assert options.start_ns("2026-01-01T00:00:00", START) == 1_767_225_600 * NS
    assert options.start_ns(None, START) == START


def test_a_trace_is_labelled_when_its_last_span_is_out() -> None:
    fleet = _fleet()
    sent: set[str] = set()
    labelled = 0
    for export in fleet.requests():
        for label in fleet.take_labels():
            assert label.trace_id in sent
            labelled += 1
        if export.signal == "traces":
            request = ExportTraceServiceRequest.FromString(export.body)
            sent |= {s.trace_id.hex() for r in request.resource_spans for c in r.scope_spans for s in c.spans}
    assert 0 < labelled < fleet.traces
    assert labelled + len(fleet.take_labels()) == fleet.traces == len(sent)
