"""Answers that own up to a failed tool, and answers that do not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from detectors.traces.prose import text_suggests_failure

ADMITS = (
    "I couldn't retrieve the weather for Paris right now.",
    "I'm sorry, but I was unable to access the weather service.",
    "The weather service timed out, please try again later.",
    "It seems the tool returned an error, so I can't check your order.",
    "I encountered an issue while fetching your reservation.",
    "The weather API is currently unavailable.",
    "Unfortunately, the search returned no results.",
    "There was a problem with the request.",
    "Ich konnte das Wetter leider nicht abrufen.",
    "Je n'ai pas pu récupérer la météo.",
    "No pude obtener el clima.",
    "抱歉，我无法获取天气信息。",
    "申し訳ありませんが、天気を取得できませんでした。",
)
GOES_ON = (
    "The weather in Paris is 18C and sunny.",
    "Your order has been cancelled. Is there anything else I can help you with?",
    "Here are three flights from Paris to Rome.",
    "Das Wetter in Paris ist sonnig.",
    "I have booked the table for four people at 8 pm.",
    "Mean absolute error of the model is 0.02.",
)


@pytest.mark.parametrize("answer", ADMITS)
def test_admissions_are_recognised(answer: str) -> None:
    assert text_suggests_failure(pa.array([answer])).to_pylist() == [True]


@pytest.mark.parametrize("answer", GOES_ON)
def test_answers_that_go_on_are_not_admissions(answer: str) -> None:
    assert text_suggests_failure(pa.array([answer])).to_pylist() == [False]


def test_an_answer_that_was_not_captured_says_nothing() -> None:
    assert text_suggests_failure(pa.array([None], pa.string())).to_pylist() == [None]
