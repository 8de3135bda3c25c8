"""What agents tell of model calls that are not traced: their last answer, why it ended, which model gave it."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import Answer
from detectors.traces.batch import Mask
from detectors.traces.context import Context
from detectors.traces.shapes import ASSISTANT
from dimwatch import vocabulary

_KINDS: Final = ("agent", "workflow", "chain")
_SPEAKS: Final = r"(?i)role|assistant|finish_?reason|stop_?reason|AIMessage|replies|generations"


def last_answers(context: Context, silent: Mask) -> list[Answer]:
    """The last answer of each trace of `silent` (by trace) whose agent's output holds it as a message: of several spans
    that do, the outermost."""
    batch = context.batch
    rows = np.flatnonzero(batch.kind(*_KINDS) & silent[batch.trace] & ~batch.failed & batch.present("output_messages"))
    speaking = pc.match_substring_regex(batch.take("output_messages", rows), _SPEAKS)
    rows = rows[speaking.to_numpy(zero_copy_only=False).astype(np.bool_)]
    found: dict[int, Answer] = {}
    for row, facts in zip(rows.tolist(), context.documents.read("output_messages", rows), strict=True):
        if facts.last_role == ASSISTANT and not facts.truncated:
            found.setdefault(int(batch.trace[row]), Answer(row, facts))
    return list(found.values())


def traces_without_answers(context: Context) -> Mask:
    """By trace: no model call of it has its answer captured."""
    batch = context.batch
    return ~batch.any_by_trace(batch.kind("llm") & batch.present("output_messages"))


def traces_without_reasons(context: Context) -> Mask:
    """By trace: no model call of it says why it ended."""
    batch = context.batch
    return ~batch.any_by_trace(batch.kind("llm") & batch.present("finish_reason"))


def reason_of(answer: Answer) -> str:
    """Why the answer ended, in canonical words; "" where it does not say."""
    words = [vocabulary.finish_reason(reason) for reason in answer.facts.finish_reasons]
    return next((word for word in reversed(words) if word), "")
