"""The pipeline goes on, whatever one trace or one request does to it."""

from __future__ import annotations

import pytest

from detectors.traces.batch import TraceBatch
from detectors.traces.rules import RULES
from detectors.traces.stage import judge_traces
from dimwatch.app.pipeline import Pipeline
from dimwatch.settings import Settings
from ingest.normalize import Request, normalize_spans
from tests.telemetry import SECOND, START_NS, Seen, agent, chat, document, judged, seen, spans_request


def test_a_trace_that_breaks_a_rule_does_not_take_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(batch: TraceBatch, *rest: object) -> object:
        if "broken" in batch.column("name").to_pylist():
            raise ZeroDivisionError
        return judge_traces(batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("dimwatch.app.pipeline.judge_traces", breaks)
    requests = [spans_request([agent(1, trace=number)]) for number in range(1, 8)]
    requests[3] = spans_request([agent(1, trace=4), chat(2, 1, trace=4)])
    result = seen([*requests, _renamed("broken", 9)])
    assert len(result.traces) == 7
    assert result.dropped == {("traces", "can_not_be_judged"): 1}


def _renamed(name: str, trace: int) -> Request:
    root = agent(1, trace=trace)
    root.name = name
    return spans_request([root])


def test_a_request_that_nothing_can_be_made_of_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(requests: list[object]) -> object:
        if poison in requests:
            raise RuntimeError("poison")
        return normalize_spans(requests)  # type: ignore[arg-type]

    poison = spans_request([agent(1, trace=3)])
    monkeypatch.setattr("dimwatch.app.pipeline.normalize_spans", breaks)
    result = seen([spans_request([agent(1, trace=1)]), poison, spans_request([agent(1, trace=2)])])
    assert len(result.traces) == 2
    (reason,) = result.malformed
    assert "poison" in reason


def test_a_request_sent_again_long_after_changes_no_sums() -> None:
    pipeline, result = Pipeline(Settings()), Seen()
    for number, received_ns in enumerate((START_NS, START_NS + 60 * SECOND)):
        request = spans_request([agent(1), chat(2, 1)], received_ns=received_ns)
        result.take(pipeline.add([request], (), now_ns=received_ns, record=number))
    result.take(pipeline.flush())
    assert result.trace["spans"] == 2
    assert result.trace["input_tokens"] == 1000


def test_late_spans_add_to_the_row_of_their_trace() -> None:
    pipeline, result = Pipeline(Settings()), Seen()
    late_ns = START_NS + 60 * SECOND
    result.take(pipeline.add([spans_request([agent(1), chat(2, 1)])], (), now_ns=START_NS, record=0))
    result.take(pipeline.add([spans_request([chat(3, 1)], received_ns=late_ns)], (), now_ns=late_ns, record=1))
    result.take(pipeline.flush())
    assert result.trace["spans"] == 3
    assert result.trace["steps"] == 2
    assert result.trace["outcome"] == "ok"
    assert result.rules() == set()


def test_tokens_that_only_the_answer_tells_have_a_price() -> None:
    answer = document(
        {"role": "assistant", "content": "yes", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    )
    said = {
        "gen_ai.usage.input_tokens": None,
        "gen_ai.usage.output_tokens": None,
        "gen_ai.response.finish_reasons": None,
        "gen_ai.output.messages": answer,
    }
    result = judged(agent(1), chat(2, 1, said))
    told = judged(agent(1), chat(2, 1))
    assert result.span(2)["input_tokens"] == 1000
    assert result.span(2)["cost_usd"] == pytest.approx(told.span(2)["cost_usd"])
    assert result.trace["cost_usd"] == pytest.approx(told.trace["cost_usd"])


def test_every_rule_has_a_name_of_its_own_and_says_what_it_needs() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.detects for rule in RULES)
