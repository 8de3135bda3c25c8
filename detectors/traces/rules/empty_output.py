"""A model call that succeeded and said nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import short_answers
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity


def find(context: Context) -> Iterator[Finding]:
    """Successful answers without text and without a tool call."""
    batch = context.batch
    ended = ~batch.mask("finish_reason", "content_filter") & ~batch.mask("finish_reason", "tool_call")
    calls = batch.model_calls & ~batch.failed & ended
    found: set[int] = set()
    for answer in short_answers(context, calls):
        facts = answer.facts
        if facts.text is not None and not facts.text.strip() and not facts.calls and not facts.truncated:
            found.add(answer.row)
            yield Finding(
                answer.row,
                0.9,
                "The model answered with nothing",
                {"finish_reason": _reason(context, answer.row)},
            )
    silent = pc.fill_null(pc.equal(batch.column("output_tokens"), 0), False).to_numpy(zero_copy_only=False)
    stopped = batch.mask("finish_reason", "stop") & ~batch.present("output_messages")
    for row in np.flatnonzero(calls & silent & stopped).tolist():
        yield Finding(row, 0.8, "The model answered with no tokens", {"output_tokens": 0})


def _reason(context: Context, row: int) -> str:
    return context.batch.texts("finish_reason", [row])[0] or ""


RULE = Rule(
    name="empty_output",
    severity=Severity.WARNING,
    find=find,
    detects="A model call that succeeded without text and without a tool call.",
    needs=("output_messages",),
    fails=True,
    kinds=("llm",),
    blind_spots="Set-ups that capture neither messages nor token counts.",
)
