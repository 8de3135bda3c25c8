"""A model call that succeeded and said nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.answers import short_answers
from detectors.traces.batch import Mask
from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.shapes import ASSISTANT
from detectors.traces.told import last_answers, reason_of, traces_without_answers

_FEW: Final = 2
_EMPTY_ANSWER: Final = (
    r"(?i)none or empty|empty (response|completion|answer|output|message|content)|EmptyResponse"
    r"|no (content|text|output)"
    r"|(returned|received) (nothing|no (content|response|output|text))|without (any )?(content|output|text)"
)


def find(context: Context) -> Iterator[Finding]:
    """Successful answers without text and without a tool call."""
    batch = context.batch
    ended = ~batch.mask("finish_reason", "content_filter") & ~batch.mask("finish_reason", "tool_call")
    calls = batch.model_calls & ~batch.failed & ended & ~batch.mask("finish_reason", "error")
    calls &= ~_followed_by_a_tool(context)
    why = batch.present("finish_reason")
    bare = []
    for answer in short_answers(context, calls):
        facts = answer.facts
        if facts.text is None and facts.last_role == ASSISTANT and not facts.calls and not facts.truncated:
            bare.append(answer.row)  # a role without a content
        if facts.text is not None and not facts.text.strip() and not facts.calls and not facts.truncated:
            known = bool(why[answer.row])
            yield Finding(
                answer.row,
                0.9 if known else 0.5,
                "The model answered with nothing",
                {"finish_reason": _reason(context, answer.row)},
                # Without a reason the answer may have been left out.
                severity=None if known else Severity.INFO,
            )
    silent = pc.fill_null(pc.equal(batch.column("output_tokens"), 0), False).to_numpy(zero_copy_only=False)
    unsaid = calls & batch.mask("finish_reason", "stop") & ~batch.present("output_messages")
    spent = pc.fill_null(pc.greater(batch.column("input_tokens"), 0), True).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(unsaid & silent & spent).tolist():
        yield Finding(row, 0.8, "The model answered with no tokens", {"output_tokens": 0})
    unsaid |= (
        calls & ~batch.present("finish_reason") & batch.present("output_tokens") & ~batch.present("output_messages")
    )
    unsaid[bare] |= batch.mask("finish_reason", "stop")[bare]
    yield from _left_out(context, unsaid & ~silent & batch.present("input_messages"))
    yield from _told_by_agents(context)
    yield from _agents_answers(context)


def _followed_by_a_tool(context: Context) -> Mask:
    """Model calls after which a tool ran, in the same trace and before the next model call: the answer asked for it,
    whatever was captured of the answer."""
    batch = context.batch
    rows = np.flatnonzero(batch.model_calls | batch.kind("tool"))
    followed = np.zeros(len(batch), dtype=np.bool_)
    if len(rows) > 1:
        tool = batch.kind("tool")[rows]
        next_is_tool = tool[1:] & ~tool[:-1] & (batch.trace[rows[1:]] == batch.trace[rows[:-1]])
        followed[rows[:-1][next_is_tool]] = True
    return followed


def _left_out(context: Context, rows: Mask) -> Iterator[Finding]:
    """Answers that are not there where the questions are: some instrumentations leave out an answer that is empty.
    Where no answer of an instrumentation is ever there, they are just not captured."""
    batch = context.batch
    at = np.flatnonzero(rows)
    if not len(at):
        return
    scopes = batch.column("scope_name").dictionary_encode()
    number = scopes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    # By trace and instrumentation: a trace is judged alike, whatever is judged with it.
    of = batch.trace * np.int64(len(scopes.dictionary) + 1) + number
    answered = np.isin(of[at], of[batch.kind("llm") & batch.present("output_messages")])
    _, place, counts = np.unique(of[at], return_inverse=True, return_counts=True)
    # Alone in its trace it may have asked for a tool that runs elsewhere.
    shown = batch.any_by_trace(batch.kind("agent", "workflow", "tool"))[batch.trace[at]]
    for row, sure, count in zip(at.tolist(), (answered & shown).tolist(), counts[place].tolist(), strict=True):
        if sure or count <= _FEW:
            yield Finding(
                row,
                0.7 if sure else 0.5,
                "The model stopped, and there is no answer where its questions are captured",
                {"finish_reason": "stop"},
                severity=None if sure else Severity.INFO,
            )


def _told_by_agents(context: Context) -> Iterator[Finding]:
    """Failed agents and steps that say that the model's answer was empty, where no model call is traced; and agents
    whose own answer is empty."""
    batch = context.batch
    told = batch.any_by_trace(batch.kind("llm"))
    steps = batch.kind("agent", "chain", "workflow", "other") & ~told[batch.trace]
    rows = np.flatnonzero(steps & batch.failed)
    said = pc.match_substring_regex(batch.take("status_message", rows), _EMPTY_ANSWER)
    failed = rows[said.to_numpy(zero_copy_only=False)]
    outer = batch.ancestor(failed, steps & batch.failed)
    for row in np.setdiff1d(failed, outer).tolist():
        message = batch.texts("status_message", [row])[0] or ""
        yield Finding(row, 0.85, f"The model answered with nothing: {message[:160]}", {"error": message[:300]})


def _agents_answers(context: Context) -> Iterator[Finding]:
    """Agents whose last message is empty, where no model's answer is captured, or that put out an empty text."""
    batch, silent = context.batch, traces_without_answers(context)
    said: set[int] = set()
    for answer in last_answers(context, silent):
        said.add(int(batch.trace[answer.row]))
        said_nothing = answer.facts.text is not None and not answer.facts.text.strip() and not answer.facts.calls
        if said_nothing and reason_of(answer) not in ("error", "content_filter", "tool_call"):
            yield Finding(answer.row, 0.8, "The agent answered with nothing", {"finish_reason": reason_of(answer)})
    agents = batch.kind("agent") & ~batch.failed & silent[batch.trace]
    rows = np.flatnonzero(agents)
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(batch.take("output_messages", rows)), ""), False)
    agents[rows] = blank.to_numpy(zero_copy_only=False)
    inner = batch.ancestor(np.flatnonzero(agents), agents)
    for row, outer in zip(np.flatnonzero(agents).tolist(), inner.tolist(), strict=True):
        if outer < 0 and int(batch.trace[row]) not in said:
            # Agents that act and say nothing look the same.
            yield Finding(row, 0.5, "The agent put out an empty text", {}, severity=Severity.INFO)


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
