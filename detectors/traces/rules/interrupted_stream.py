"""An answer whose stream broke off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import begun_answers, broken_streams
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from dimwatch import vocabulary

_DANGLING: Final = r"(?i)(\s|\b(the|a|an|in|of|to|and|or|with|for|is|are|was|at|by|from|that|on|der|die|das|und))$"
"""How no answer ends, but a cut one may."""


def find(context: Context) -> Iterator[Finding]:
    """Model calls that failed while streaming, ended with finish reason `error`, or brought text but none of what a
    stream's last chunk brings: finish reason, token count."""
    batch = context.batch
    calls = batch.model_calls
    broken = broken_streams(context)
    inner = batch.ancestor(np.flatnonzero(broken), broken, depth=3)
    broken[inner[inner >= 0]] = False
    columns = zip(
        batch.texts("error_type", rows := np.flatnonzero(broken)), batch.texts("status_message", rows), strict=True
    )
    for row, (kind, message) in zip(rows.tolist(), columns, strict=True):
        error = ": ".join(part for part in (kind, message) if part)
        yield Finding(row, 0.95, f"The stream broke off: {error[:160]}", {"error": error[:300]})

    ended_in_error = np.flatnonzero(calls & batch.mask("finish_reason", "error") & ~broken)
    for row, begun in zip(ended_in_error.tolist(), begun_answers(context, ended_in_error), strict=True):
        if begun:
            yield Finding(row, 0.85, "The answer ended with an error", {"finish_reason": "error"})

    without_end = calls & ~batch.failed & ~batch.present("finish_reason")
    without_end |= calls & ~batch.failed & batch.mask("finish_reason", "unknown")
    tokens = pc.fill_null(batch.column("output_tokens"), 0).to_numpy(zero_copy_only=False)
    suspects = np.flatnonzero(without_end & (tokens == 0))
    streamed = batch.present("time_to_first_token_ns")
    for row, facts in zip(suspects.tolist(), context.documents.read("output_messages", suspects), strict=True):
        spent = facts.usage.output_tokens if facts.usage is not None else None
        reasons = [vocabulary.finish_reason(reason) for reason in facts.finish_reasons]
        if any(reason not in ("", "unknown") for reason in reasons) or spent or facts.calls:
            continue
        text = (facts.text or "").rstrip("\n")
        if not text.strip() and not streamed[row]:
            continue
        yield _without_end(row, text, bool(streamed[row]))
    yield from _dangling(context)


def _without_end(row: int, text: str, streamed: bool) -> Finding:
    return Finding(
        row,
        0.75 if streamed else 0.55,
        "The answer has neither a finish reason nor a token count: its stream ended before the last chunk",
        {"text": text[-200:], "streamed": streamed},
        severity=None if streamed else Severity.INFO,
    )


def _dangling(context: Context) -> Iterator[Finding]:
    """Agents whose model calls are not traced, or traced without content, and whose answer stops in mid-sentence."""
    batch = context.batch
    told = batch.any_by_trace(batch.model_calls & batch.present("output_messages"))
    agents = batch.kind("agent", "chain", "workflow", "other") & ~told[batch.trace] & ~batch.failed
    rows = np.flatnonzero(agents & batch.present("output_messages"))
    said: set[int] = set()
    for row, facts in zip(rows[::-1].tolist(), context.documents.read("output_messages", rows[::-1]), strict=True):
        trace, text = int(batch.trace[row]), (facts.text or "").rstrip("\n")
        spent = facts.usage.output_tokens if facts.usage is not None else None
        cut = bool(re.search(_DANGLING, text)) or (spent == 0 and bool(text.strip()))
        if trace in said or facts.truncated or not cut or facts.finish_reasons:
            continue
        said.add(trace)
        yield Finding(row, 0.5, "The answer stops in mid-sentence", {"text": text[-200:]}, severity=Severity.INFO)
    # What is handed on between agents carries the answer and its usage: text for no tokens was cut before the count.
    handed = np.flatnonzero(agents & ~batch.present("output_messages") & batch.present("input_messages"))
    for row, facts in zip(handed[::-1].tolist(), context.documents.read("input_messages", handed[::-1]), strict=True):
        trace, text = int(batch.trace[row]), (facts.text or "").strip()
        spent = facts.usage.output_tokens if facts.usage is not None else None
        if spent == 0 and text and facts.last_role == "assistant" and trace not in said and not facts.finish_reasons:
            said.add(trace)
            yield Finding(row, 0.5, "An answer has text and no tokens", {"text": text[-200:]}, severity=Severity.INFO)


RULE = Rule(
    name="interrupted_stream",
    severity=Severity.WARNING,
    find=find,
    detects="An answer whose stream broke off before its end: a broken connection, or text without the finish reason "
    "and token count that the last chunk brings.",
    needs=("finish_reason", "output_tokens"),
    fails=True,
    kinds=("llm",),
    blind_spots="Clients that fill in a finish reason of their own.",
)
