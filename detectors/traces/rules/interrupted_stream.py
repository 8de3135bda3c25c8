"""An answer whose stream broke off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces import stream_ends
from detectors.traces.answers import begun_answers, broken_streams
from detectors.traces.batch import Mask, Rows, TraceBatch, mask_of
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from dimwatch import vocabulary

_OPEN_WORD: Final = r"\b(the|a|an|in|of|to|and|or|with|for|is|are|was|at|by|from|that|on|der|die|das|und)"
_DANGLING: Final = rf"(?i)([\w,;:(]\s+|{_OPEN_WORD})$"
"""How no answer ends, but a cut one may."""
_CUT: Final = rf"(?i){_OPEN_WORD}\s*$"
"""How hardly any answer ends, with spaces or without."""
_NO_REASON: Final = r'"stop_reason"\s*:\s*null'
_CUT_SIGN: Final = rf'(?i)(?:[\w,;:(]\s|{_OPEN_WORD})\\*(?:"|$)|{_NO_REASON}'
"""What the document of a cut answer holds; many others do, too."""
_LONGEST: Final = 4000
"""Characters; a longer text may have been cut by an exporter."""


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
    streamed = _streamed(batch, suspects)
    ever, usual = _ends_given(batch, suspects)
    read = context.documents.read("output_messages", suspects)
    for row, facts, by_stream, ends, ends_of_streams in zip(
        suspects.tolist(), read, streamed.tolist(), ever.tolist(), usual.tolist(), strict=True
    ):
        spent = facts.usage.output_tokens if facts.usage is not None else None
        reasons = [vocabulary.finish_reason(reason) for reason in facts.finish_reasons]
        if any(reason not in ("", "unknown") for reason in reasons) or spent or facts.calls:
            continue
        text = (facts.text or "").rstrip("\n")
        if not text.strip() and not by_stream:
            continue
        if text.strip() and not ends and not re.search(_DANGLING, text):
            continue
        yield _without_end(row, text, by_stream, ends_of_streams)
    yield from _dangling(context)
    yield from _dangling_models(context, calls & ~batch.failed)


def _streamed(batch: TraceBatch, rows: Rows) -> Mask:
    """By model call: does it say that its answer was streamed, by a first token or in its attributes?"""
    streamed = batch.present("time_to_first_token_ns")[rows]
    attributes = batch.take("attributes", rows)
    says = mask_of(
        pc.and_(pc.match_substring(attributes.keys, "stream"), pc.equal(pc.ascii_lower(attributes.items), "true"))
    )
    owners = np.repeat(np.arange(len(rows)), np.diff(attributes.offsets.to_numpy()))
    streamed[owners[says]] = True
    return streamed


def _dangling_models(context: Context, calls: Mask) -> Iterator[Finding]:
    """Answers that stop in mid-sentence, or whose message says that it has no reason to have stopped, though the client
    gave one or counted tokens."""
    batch = context.batch
    ended = calls & (batch.mask("finish_reason", "stop") | ~batch.present("finish_reason"))
    rows = np.flatnonzero(ended & batch.present("output_messages"))
    screened = pc.match_substring_regex(batch.take("output_messages", rows), _CUT_SIGN)
    rows = rows[screened.to_numpy(zero_copy_only=False).astype(np.bool_)]
    explicit = pc.match_substring_regex(batch.take("output_messages", rows), _NO_REASON)
    read = context.documents.read("output_messages", rows)
    for row, facts, unreasoned in zip(rows.tolist(), read, explicit.to_pylist(), strict=True):
        text = (facts.text or "").rstrip("\n")
        if facts.calls or facts.truncated or not text.strip() or len(text) > _LONGEST:
            continue
        if unreasoned and not facts.finish_reasons:
            yield Finding(row, 0.8, "The answer's message is there without its end", {"text": text[-200:]})
        elif re.search(_DANGLING, text):
            yield Finding(row, 0.45, "The answer stops in mid-sentence", {"text": text[-200:]}, severity=Severity.INFO)


def _ends_given(batch: TraceBatch, suspects: Rows) -> tuple[Mask, Mask]:
    """By model call: does its instrumentation record how answers end, and how streamed ones do? It is known to, or does
    so elsewhere in the same trace. Other traces are not asked: which are judged together is chance."""
    known = stream_ends.recorded(batch, suspects)
    if not len(suspects):
        return known, known
    number, scopes = batch.encoded("scope_name")
    of = batch.trace * np.int64(len(scopes)) + number
    complete = batch.present("finish_reason") | batch.present("output_tokens")
    ends = np.flatnonzero(batch.kind("llm") & complete & np.isin(of, of[suspects]))
    streams = ends[_streamed(batch, ends)]
    return known | np.isin(of[suspects], of[ends]), known | np.isin(of[suspects], of[streams])


def _without_end(row: int, text: str, streamed: bool, usual: bool) -> Finding:
    if streamed and usual:
        confidence, severity = 0.75, None
    elif streamed and re.search(_CUT, text):
        confidence, severity = 0.7, None
    else:
        confidence, severity = 0.55 if usual else 0.4, Severity.INFO
    return Finding(
        row,
        confidence,
        "The answer has neither a finish reason nor a token count: its stream ended before the last chunk",
        {"text": text[-200:], "streamed": streamed},
        severity=severity,
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
