"""What the rules about a model's answer share: its text, and how its stream ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import Mask, Rows
from detectors.traces.context import Context
from detectors.traces.messages import MessageFacts

_BROKEN: Final = (
    r"(?i)incomplete chunked read|peer closed connection|connection (reset|aborted|closed|lost)|RemoteProtocolError"
    r"|IncompleteRead|stream (was |has been )?(interrupted|cut|closed|ended|aborted|terminated)|prematurely"
    r"|ChunkedEncodingError|broken pipe|socket hang up|ECONNRESET|unexpected (eof|end of)|AbortError"
    r"|ResponseStreamError|StreamError|ServerDisconnected|missing finish_reason|finish_reason\W+input should be"
    r"|without (a )?finish.?reason"
    r"|stream (ended|finished|closed) (without|before)|terminated unexpectedly|Premature close|stream.{0,20}timed? ?out"
)


def broken_streams(context: Context) -> Mask:
    """Failed model calls that had begun to answer, or whose error says that the connection broke."""
    batch = context.batch
    failed = batch.kind("llm") & batch.failed
    broken = _names_a_break(context, failed)
    began = batch.present("time_to_first_token_ns") & ~batch.present("finish_reason")
    broken |= failed & began
    # Where no model call is traced, the agent above tells.
    told = batch.any_by_trace(batch.kind("llm"))
    steps = batch.kind("agent", "chain", "workflow") & batch.failed & ~told[batch.trace]
    if steps.any():
        named = _names_a_break(context, steps)
        outer = batch.ancestor(np.flatnonzero(named), named)
        named[outer[outer >= 0]] = False
        broken |= named
    return broken


def _names_a_break(context: Context, rows: Mask) -> Mask:
    batch, at = context.batch, np.flatnonzero(rows)
    said = pc.binary_join_element_wise(batch.take("error_type", at), batch.take("status_message", at), " ")
    named = rows.copy()
    matched = pc.match_substring_regex(pc.utf8_slice_codeunits(said, 0, 2000), _BROKEN)
    named[at] = matched.to_numpy(zero_copy_only=False)
    return named


def begun_answers(context: Context, rows: Rows) -> list[bool]:
    """By model call: did its answer bring text or a tool call, or begin to stream?"""
    streamed = context.batch.present("time_to_first_token_ns")
    answers = context.documents.read("output_messages", rows)
    return [
        bool((facts.text or "").strip() or facts.calls or streamed[row])
        for row, facts in zip(rows, answers, strict=True)
    ]


@dataclass(slots=True)
class Answer:
    """A successful model call and what its answer document says."""

    row: int
    facts: MessageFacts


def short_answers(context: Context, rows: Mask) -> list[Answer]:
    """Answers of `rows`, model calls that did not fail, whose document is captured and may say nothing."""
    chosen = np.flatnonzero(rows & context.maybe_empty)
    return [
        Answer(row, facts)
        for row, facts in zip(chosen.tolist(), context.documents.read("output_messages", chosen), strict=True)
    ]
