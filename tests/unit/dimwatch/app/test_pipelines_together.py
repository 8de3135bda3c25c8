"""Pipelines that take a step together give what each would give alone, also where something breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

import pytest

from detectors.traces.batch import TraceBatch
from detectors.traces.stage import judge_traces
from detectors.windows.points import merged, merged_sightings
from dimwatch.app.pipeline import Pipeline, Step, advance
from dimwatch.settings import Settings
from ingest.normalize import Request, normalize_spans
from tests.telemetry import SECOND, START_NS, Seen, agent, chat, logs_request, spans_request, tool

LATE_NS = START_NS + 600 * SECOND
END_NS = START_NS + 3600 * SECOND
ANSWER = '[{"role": "assistant", "content": "yes"}]'
Taken = tuple[Sequence[Request], Sequence[Request], int]
"""Trace requests, log requests, and record time."""


def partitions() -> list[list[Taken]]:
    """What three partitions take in, step by step. Of the second, a trace is over twice in one step: as a whole, and
    with what came late. Senders of the third are confused."""
    late = spans_request([tool(9, 1, trace=4, error="timeout")], received_ns=LATE_NS)
    untimely = spans_request([agent(1, trace=6, start=-START_NS / SECOND), chat(2, trace=6)])
    log = logs_request(
        [("gen_ai.client.inference.operation.details", 2, {"gen_ai.output.messages": ANSWER}, None)], trace=7
    )
    return [
        [([_run(1), _run(2), _run(3)], (), START_NS), ((), (), END_NS)],
        [([_run(4), _run(8)], (), START_NS), ([late], (), END_NS)],
        [([Request(b"\xff", START_NS), _run(5), untimely, _run(7)], [log], START_NS), ((), (), END_NS)],
    ]


def _run(trace: int) -> Request:
    return spans_request([agent(1, trace=trace), chat(2, 1, trace=trace), tool(3, 1, trace=trace, error="timeout")])


def run(steps: Sequence[Sequence[Taken]]) -> list[Seen]:
    """What people see of partitions that take all steps together."""
    found = [Seen() for _ in steps]
    pipelines = [Pipeline(Settings()) for _ in steps]
    for number, taken in enumerate(zip_longest(*steps)):
        together = [
            Step(pipeline, traces, logs, now_ns, record=number)
            for pipeline, (traces, logs, now_ns) in zip(pipelines, taken, strict=True)
        ]
        for seen, output in zip(found, advance(together), strict=True):
            seen.take(output)
    for seen, pipeline in zip(found, pipelines, strict=True):
        seen.take(pipeline.flush())
    return found


def same(one: Seen, other: Seen) -> bool:
    """Whether people see the same."""
    tables = [(merged(seen.points), merged_sightings(seen.sightings)) for seen in (one, other)]
    fields = ("spans", "traces", "observations", "malformed", "dropped", "arrived")
    return tables[0] == tables[1] and all(getattr(one, name) == getattr(other, name) for name in fields)


def test_they_give_what_each_gives_alone() -> None:
    steps = partitions()
    alone = [run([own])[0] for own in steps]
    assert all(same(one, other) for one, other in zip(run(steps), alone, strict=True))
    assert [len(one.traces) for one in alone] == [3, 2, 3]
    assert alone[1].span(9, trace=4)["reported_status"] == "error"
    assert alone[2].dropped == {("spans", "invalid_time"): 1}
    assert len(alone[2].malformed) == 1
    assert alone[2].span(2, trace=7)["output_messages"] == ANSWER


def _breaks_judging(poison: str) -> Callable[..., object]:
    def breaks(batch: TraceBatch, *rest: object) -> object:
        if poison in batch.column("trace_id").to_pylist():
            raise ZeroDivisionError
        return judge_traces(batch, *rest)  # type: ignore[arg-type]

    return breaks


def test_a_trace_that_can_not_be_judged_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = partitions()
    alone = [run([own])[0] for own in steps]
    poison = (2).to_bytes(16, "big").hex()
    monkeypatch.setattr("dimwatch.app.pipeline.judge_traces", _breaks_judging(poison))
    first, *others = run(steps)
    assert first.dropped == {("traces", "can_not_be_judged"): 1}
    assert first.traces.keys() == alone[0].traces.keys() - {poison}
    assert all(same(one, other) for one, other in zip(others, alone[1:], strict=True))


def test_a_request_that_nothing_can_be_made_of_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = partitions()
    alone = [run([own])[0] for own in steps]
    poison = steps[0][0][0][1]

    def breaks(requests: Sequence[Request]) -> object:
        if any(request is poison for request in requests):
            raise RuntimeError("poison")
        return normalize_spans(requests)

    monkeypatch.setattr("dimwatch.app.pipeline.normalize_spans", breaks)
    first, *others = run(steps)
    assert len(first.traces) == 2
    (reason,) = first.malformed
    assert "poison" in reason
    assert all(same(one, other) for one, other in zip(others, alone[1:], strict=True))


def test_open_traces_of_one_do_not_keep_what_was_judged_of_others_in_memory() -> None:
    busy, calm = Pipeline(Settings()), Pipeline(Settings())
    runs = spans_request([span for trace in range(1, 60) for span in (agent(1, trace=trace), chat(2, 1, trace=trace))])
    waits = spans_request([chat(2, 1, trace=100)])  # its root is missing
    later_ns = START_NS + 20 * SECOND
    for number, (requests, now_ns) in enumerate((([runs], START_NS), ((), later_ns), ((), later_ns))):
        own = [waits] if requests else ()
        steps = [
            Step(pipeline, taken, (), now_ns=now_ns, record=number)
            for pipeline, taken in ((busy, requests), (calm, own))
        ]
        advance(steps)
    assert (busy.assembler.open_traces, calm.assembler.open_traces) == (0, 1)
    (chunk,) = calm.assembler._chunks
    assert chunk.whole.rows == chunk.table.num_rows == 1
    assert chunk.table.get_total_buffer_size() < 16_384
