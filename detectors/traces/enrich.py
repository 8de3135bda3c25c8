"""What model spans leave to their answer documents: finish reason, model and tokens of conventions that write
them nowhere else (Haystack, LangSmith, Langfuse, AutoGen, ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import Mask, Rows, TraceBatch
from detectors.traces.documents import Documents
from detectors.traces.messages import MessageFacts
from dimwatch import vocabulary
from dimwatch.records import SPAN

_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_SPEAKS: Final = r"(?i)finish_?reason|stop_?reason|usage|_tokens|\"status\"|done_reason|\"model"
"""What an answer document that tells more than its text contains."""


def enrich(batch: TraceBatch, documents: Documents, version: Rows) -> Mask:
    """Fill the batch's model spans from their answer documents. Returns the rows that gain something; they get
    `version`."""
    lacking = ~batch.present("finish_reason") | ~batch.present("output_tokens") | ~batch.present("response_model")
    candidates = np.flatnonzero(batch.kind("llm") & lacking & batch.present("output_messages"))
    gained = np.zeros(len(batch), dtype=np.bool_)
    if not len(candidates):
        return gained
    texts = batch.take("output_messages", candidates)
    rows = candidates[pc.match_substring_regex(texts, _SPEAKS).to_numpy(zero_copy_only=False)]
    facts = documents.read("output_messages", rows)
    for name, word in _WORDS.items():
        gained |= _fill(batch, name, rows, [word(fact) for fact in facts])
    for name in _TOKENS:
        values = [getattr(fact.usage, name) if fact.usage is not None else None for fact in facts]
        gained |= _fill(batch, name, rows, values)
    if gained.any():
        versions = np.where(gained, version, batch.column("version").to_numpy())
        batch.replace("version", pa.array(versions))
    return gained


def _finish_reason(facts: MessageFacts) -> str | None:
    words = [(reason, vocabulary.finish_reason(reason)) for reason in reversed(facts.finish_reasons)]
    # The status of a response ("incomplete", "completed") says less than the reason beside it.
    words.sort(key=lambda word: word[0].lower() in {"incomplete", "completed"})
    return next((word for _, word in words if word), None)


def _model(facts: MessageFacts) -> str | None:
    return vocabulary.model(facts.models[-1]) if facts.models else None


def _provider(facts: MessageFacts) -> str | None:
    model = _model(facts)
    return vocabulary.provider_of_model(model) or None if model else None


_WORDS: Final[dict[str, Callable[[MessageFacts], str | None]]] = {
    "finish_reason": _finish_reason,
    "response_model": _model,
    "provider": _provider,
    "response_id": lambda facts: facts.response_id,
}


def _fill(
    batch: TraceBatch, name: str, rows: Rows, values: Sequence[object]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Set the values of a column where it says nothing; return the rows that gained."""
    missing = ~batch.present(name)
    known = np.array([value is not None for value in values], dtype=np.bool_)
    gained = np.zeros(len(batch), dtype=np.bool_)
    at = rows[known & missing[rows]]
    if not len(at):
        return gained
    gained[at] = True
    chosen = [value for value, row in zip(values, rows.tolist(), strict=True) if gained[row]]
    column = batch.column(name)
    filled = pc.replace_with_mask(column, pa.array(gained), pa.array(chosen, SPAN.field(name).type))
    batch.replace(name, filled)
    return gained
