"""Evaluations and feedback in traces: how many of them were bad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from detectors.traces.batch import TraceBatch
from detectors.windows.points import Cells
from detectors.windows.where import Where

_LABELS: Final = ("gen_ai.evaluation.score.label", "eval.label", "evaluation.label", "label")
_SCORES: Final = ("gen_ai.evaluation.score.value", "eval.score", "evaluation.score", "score")
"""Attributes of evaluator spans, the surest first. OpenTelemetry's GenAI conventions name the first of each."""
_BAD: Final = frozenset((
    "fail", "failed", "failure", "bad", "negative", "incorrect", "wrong", "no", "false", "poor", "unsafe",
    "irrelevant", "unhelpful", "unfaithful", "hallucinated", "thumbs_down", "dislike",
))  # fmt: skip
_GOOD: Final = frozenset((
    "pass", "passed", "success", "good", "positive", "correct", "right", "yes", "true", "excellent", "safe",
    "relevant", "helpful", "faithful", "factual", "thumbs_up", "like",
))  # fmt: skip
_HALF: Final = 0.5


def feedback(batch: TraceBatch, where: Where) -> Cells:
    """`run_feedback`: one trial an evaluator span that says good or bad."""
    rows = np.flatnonzero(batch.kind("evaluator"))
    cells = Cells(where.keys("run", rows), where.window_ns(rows, batch.end[rows]), where.owner(rows))
    if len(rows):
        verdicts = [is_bad(dict(attributes)) for attributes in batch.take("attributes", rows).to_pylist()]
        said = np.array([verdict is not None for verdict in verdicts], dtype=np.bool_)
        cells.hits("run_feedback", said, np.array([verdict is True for verdict in verdicts], dtype=np.bool_))
    return cells


def is_bad(attributes: Mapping[str, str]) -> bool | None:
    """Whether an evaluation was bad, None where it does not say. A score counts if it is between 0 and 1."""
    for name in _LABELS:
        label = attributes.get(name, "").strip().lower().replace(" ", "_").replace("-", "_")
        if label in _BAD or label in _GOOD:
            return label in _BAD
    for name in _SCORES:
        try:
            score = float(attributes.get(name, "nan"))
        except ValueError:
            continue
        if math.isfinite(score) and 0 <= score <= 1:
            return score < _HALF
    return None
