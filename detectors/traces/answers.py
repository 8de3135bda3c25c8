"""What the rules about a model's answer share: its text, and whether it asked for tools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import Mask, Rows
from detectors.traces.context import Context
from detectors.traces.messages import MessageFacts

_SHORT = 400
"""Bytes up to which an answer document is read to see whether it is empty: longer ones hold something."""


@dataclass(slots=True)
class Answer:
    """A successful model call and what its answer document says."""

    row: int
    facts: MessageFacts


def short_answers(context: Context, rows: Mask) -> list[Answer]:
    """Answers of `rows` whose document is captured and short enough that it may say nothing."""
    batch = context.batch
    column = batch.column("output_messages")
    length = pc.fill_null(pc.binary_length(column), _SHORT).to_numpy(zero_copy_only=False)
    chosen: Rows = np.flatnonzero(rows & (length < _SHORT))
    return [
        Answer(row, facts)
        for row, facts in zip(chosen.tolist(), context.documents.read("output_messages", chosen), strict=True)
    ]
