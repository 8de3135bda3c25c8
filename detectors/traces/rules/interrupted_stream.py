"""An answer whose stream broke off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import short_answers
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity

_BROKEN: Final = (
    r"(?i)incomplete chunked read|peer closed connection|connection (reset|aborted|closed|lost)|RemoteProtocolError"
    r"|IncompleteRead|stream (was |has been )?(interrupted|cut|closed|ended|aborted|terminated)|prematurely"
    r"|ChunkedEncodingError|broken pipe|socket hang up|ECONNRESET|unexpected (eof|end of)|AbortError"
    r"|ResponseStreamError|StreamError|ServerDisconnected"
)


def find(context: Context) -> Iterator[Finding]:
    """Model calls that failed while streaming, ended with finish reason `error`, or brought text but none of what a
    stream's last chunk brings: finish reason, token count."""
    batch = context.batch
    calls = batch.model_calls
    said = pc.binary_join_element_wise(batch.column("error_type"), batch.column("status_message"), " ")
    broken = np.zeros(len(batch), dtype=np.bool_)
    failed = np.flatnonzero(calls & batch.failed)
    broken[failed] = pc.match_substring_regex(said.take(failed), _BROKEN).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(broken).tolist():
        yield Finding(row, 0.95, "The stream broke off", {"error": said[row].as_py()[:300]})

    ended_in_error = calls & batch.mask("finish_reason", "error") & ~broken
    for row in np.flatnonzero(ended_in_error).tolist():
        yield Finding(row, 0.85, "The answer ended with an error", {"finish_reason": "error"})

    without_end = calls & ~batch.failed & ~batch.present("finish_reason")
    without_end |= calls & ~batch.failed & batch.mask("finish_reason", "unknown")
    tokens = pc.fill_null(batch.column("output_tokens"), 0).to_numpy(zero_copy_only=False)
    suspects = without_end & (tokens == 0)
    answers = {answer.row: answer.facts for answer in short_answers(context, suspects)}
    streamed = batch.present("time_to_first_token_ns")
    for row in np.flatnonzero(suspects).tolist():
        facts = answers.get(row)
        if facts is not None and (facts.finish_reasons or facts.usage is not None or facts.calls):
            continue
        has_text = bool(facts and facts.text and facts.text.strip())
        if not has_text and not streamed[row]:
            continue
        confidence = 0.75 if streamed[row] else 0.55
        yield Finding(
            row,
            confidence,
            "The answer has neither a finish reason nor a token count: its stream ended before the last chunk",
            {"text": (facts.text or "")[-200:] if facts else None, "streamed": bool(streamed[row])},
            severity=None if streamed[row] else Severity.INFO,
        )


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
