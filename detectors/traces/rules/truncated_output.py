"""An answer that was cut off at the token limit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.told import last_answers, reason_of, traces_without_reasons


def find(context: Context) -> Iterator[Finding]:
    """Model calls with finish reason `length`."""
    batch = context.batch
    rows = np.flatnonzero(batch.mask("finish_reason", "length") & batch.model_calls)
    tokens = batch.column("output_tokens")
    for row in rows.tolist():
        count = tokens[row].as_py()
        yield Finding(
            row=row,
            confidence=0.97,
            summary="The answer was cut off at the token limit" + (f" after {count} tokens" if count else ""),
            evidence={"finish_reason": "length", "output_tokens": count},
        )
    for answer in last_answers(context, traces_without_reasons(context)):
        if reason_of(answer) == "length":
            yield Finding(
                answer.row, 0.85, "The agent's answer was cut off at the token limit", {"finish_reason": "length"}
            )


RULE = Rule(
    name="truncated_output",
    severity=Severity.WARNING,
    find=find,
    detects="A model's answer that ended at the token limit instead of where the model would have ended it.",
    needs=("finish_reason",),
    kinds=("llm",),
    blind_spots="Set-ups that record no finish reason.",
)
