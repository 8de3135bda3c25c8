"""An answer that a content filter or a refusal stopped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detectors.traces.answers import short_answers
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.told import last_answers, reason_of, traces_without_reasons


def find(context: Context) -> Iterator[Finding]:
    """Model calls with finish reason `content_filter`, or whose message carries a refusal."""
    batch = context.batch
    filtered = batch.mask("finish_reason", "content_filter") & batch.kind("llm")
    wrapped = batch.ancestor(np.flatnonzero(filtered), filtered, depth=3)
    filtered[wrapped[wrapped >= 0]] = False
    for row in np.flatnonzero(filtered).tolist():
        yield Finding(row, 0.97, "A content filter stopped the answer", {"finish_reason": "content_filter"})
    for answer in short_answers(context, batch.model_calls & ~filtered & ~batch.failed):
        if answer.facts.refusal:
            yield Finding(answer.row, 0.85, "The model refused to answer", {"refusal": (answer.facts.text or "")[:200]})
    for answer in last_answers(context, traces_without_reasons(context)):
        if reason_of(answer) == "content_filter":
            yield Finding(
                answer.row, 0.85, "A content filter stopped the agent's answer", {"finish_reason": "content_filter"}
            )


RULE = Rule(
    name="filtered_output",
    severity=Severity.WARNING,
    find=find,
    detects="An answer that a content filter, a guardrail of the provider or a refusal stopped.",
    needs=("finish_reason",),
    fails=True,
    kinds=("llm",),
    blind_spots="Refusals in prose.",
)
