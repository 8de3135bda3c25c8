"""Which tool results are errors, which are empty, and which only talk about errors."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from detectors.traces.results import State, Verdict, judge, judge_one

_LABELLED = [
    json.loads(line)
    for line in Path(__file__).with_name("labelled_results.jsonl").read_text(encoding="utf-8").splitlines()
]


def _labelled(label: str) -> list[str]:
    return [row["result"] for row in _LABELLED if row["label"] == label]


ERRORS, FINE, EMPTY, WITHHELD = map(_labelled, ("error", "ok", "empty", "redacted"))


@pytest.mark.parametrize("result", ERRORS)
def test_failures_are_recognised(result: str) -> None:
    verdict = judge_one(result)

    assert verdict.state is State.ERROR
    assert verdict.confidence >= 0.65
    assert verdict.kind
    assert 0 < len(verdict.snippet) <= 200


@pytest.mark.parametrize("result", FINE)
def test_legitimate_content_is_no_failure(result: str) -> None:
    """A result that is merely suspicious stays below the confidence at which anybody hears of it."""
    verdict = judge_one(result)

    assert verdict.state is State.OK or (verdict.state is State.ERROR and verdict.confidence < 0.65)


@pytest.mark.parametrize("result", EMPTY)
def test_emptiness_is_seen_through_wrappers(result: str) -> None:
    assert judge_one(result).state is State.EMPTY


@pytest.mark.parametrize("result", WITHHELD)
def test_withheld_results_are_neither_fine_nor_empty(result: str) -> None:
    assert judge_one(result).state is State.REDACTED


def test_the_column_is_judged_as_its_rows_are() -> None:
    results: list[str | None] = [*ERRORS, None, *FINE, *EMPTY, *WITHHELD]
    for column in (pa.array(results), pa.chunked_array([results[:7], results[7:]], pa.string())):
        verdicts = judge(column)
        for position, result in enumerate(results):
            expected = judge_one(result)
            assert (verdicts.state[position], verdicts.kind(position)) == (expected.state, expected.kind), result
            assert verdicts.confidence[position] == pytest.approx(expected.confidence)


def test_a_missing_result_is_never_empty() -> None:
    verdicts = judge(pa.array([None, ""], pa.string()))

    assert verdicts.state.tolist() == [State.MISSING, State.EMPTY]
    assert judge_one(None) == Verdict(State.MISSING)


def test_a_cut_result_is_never_empty() -> None:
    whole = json.dumps({"results": [{"title": "Paris"}], "count": 1})

    for end in range(1, len(whole)):
        assert judge_one(whole[:end]).state is State.OK
    assert judge_one('{"error": "503 Service Unav').state is State.ERROR


def test_wrappers_are_opened_up_to_six_levels() -> None:
    result = "Error: 503 Service Unavailable"
    for _ in range(5):
        result = json.dumps({"result": result})
    assert judge_one(result).state is State.ERROR

    for _ in range(30):
        result = json.dumps({"result": result})[:100_000]
    assert judge_one(result).state is State.OK


def test_long_text_that_begins_like_a_failure_is_trusted_less() -> None:
    short, long = judge_one("Error: no such city"), judge_one("Error: no such city. " + "The history of errors. " * 300)

    assert long.confidence < 0.65 < short.confidence


def test_an_error_far_inside_a_long_object_is_found() -> None:
    result = json.dumps({"request_id": "x" * 3_000, "success": False, "message": "backend down"})

    assert judge(pa.array([result])).state[0] == State.ERROR


def test_the_table_has_the_columns_that_analysts_expect() -> None:
    table = judge(pa.array(["Error: 503 Service Unavailable", "fine", None])).table()

    assert table.column_names == ["state", "error_kind", "confidence", "snippet"]
    assert table["state"].to_pylist() == [State.ERROR, State.OK, State.MISSING]
    assert table["error_kind"].to_pylist() == ["http_error", "", ""]


def test_nothing_and_odd_columns_are_judged() -> None:
    assert len(judge(pa.array([], pa.string()))) == 0
    assert judge(pa.array(["", "fine"]).dictionary_encode()).state.tolist() == [State.EMPTY, State.OK]


@pytest.mark.parametrize("result", ['{"rows": [], "row_count": 0}', '{"results": [], "num_results": 0}'])
def test_counts_beside_nothing_are_no_data(result: str) -> None:
    assert judge([result]).state.tolist() == [State.EMPTY]


@pytest.mark.parametrize("result", ["ERROR", '{"status": "error"}'])
def test_an_error_that_says_no_more_is_one(result: str) -> None:
    assert judge([result]).is_error.tolist() == [True]


@pytest.mark.parametrize("result", ['{"status": "failed"}', '{"size": 0}', '{"level": "error", "line": 7}'])
def test_states_and_sizes_that_were_asked_for_are_answers(result: str) -> None:
    assert judge([result]).state.tolist() == [State.OK]
