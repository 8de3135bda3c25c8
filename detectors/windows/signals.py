"""Every signal that is watched: what it counts or measures, on what, and which way is worse.

A signal is one row here and one function in `facts`; the engine needs no other knowledge of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Subject(StrEnum):
    """What a series is about, and with that which columns of a point name it."""

    MODEL = "model"
    """Model calls: agent, provider, model."""
    TOOL = "tool"
    """Tool calls: agent, tool."""
    RUN = "run"
    """Whole traces: agent."""


class Form(StrEnum):
    """How a point is read."""

    HITS = "hits"
    """`total` of `n` trials were hits."""
    LEVEL = "level"
    """`n` measurements; `total` and `squares` of their natural logarithms."""
    EVENTS = "events"
    """`n` events happened in the window; windows without any count, too."""
    AMOUNT = "amount"
    """`total` was spent in the window (no logarithm), in `n` events."""


class Worse(StrEnum):
    """The direction that somebody should hear of."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that is watched."""

    name: str
    subject: Subject
    form: Form
    worse: Worse
    unit: str
    means: str
    symptom: bool = False
    """It may come of trouble elsewhere (a slow model makes slow runs), and is then part of that incident."""
    pages: bool = True
    """False: it is shown and takes part in causes, but opens no incident."""


_M, _T, _R = Subject.MODEL, Subject.TOOL, Subject.RUN
_HITS, _LEVEL = Form.HITS, Form.LEVEL
_UP, _DOWN, _BOTH = Worse.UP, Worse.DOWN, Worse.BOTH

SIGNALS: Final = (
    Signal("model_error", _M, _HITS, _UP, "ratio", "model calls that failed, rescued or not"),
    Signal("model_truncated", _M, _HITS, _UP, "ratio", "answers that were cut at the token limit"),
    Signal("model_filtered", _M, _HITS, _UP, "ratio", "answers that a content filter withheld"),
    Signal("model_empty", _M, _HITS, _UP, "ratio", "answers with nothing in them"),
    Signal("model_interrupted", _M, _HITS, _UP, "ratio", "streams that broke off"),
    Signal("model_mismatch", _M, _HITS, _UP, "ratio", "answers of another model than was asked"),
    Signal("model_retried", _M, _HITS, _UP, "ratio", "model calls that were retried or moved to another model"),
    Signal("model_latency", _M, _LEVEL, _UP, "s", "duration of model calls that did not fail"),
    Signal("model_first_token", _M, _LEVEL, _UP, "s", "time to first token"),
    Signal("model_speed", _M, _LEVEL, _DOWN, "tokens/s", "output tokens a second"),
    Signal("model_output_tokens", _M, _LEVEL, _BOTH, "tokens", "output tokens of a call, reasoning included"),
    Signal("model_input_tokens", _M, _LEVEL, _BOTH, "tokens", "input tokens of a call", pages=False),
    Signal("model_reasoning_tokens", _M, _LEVEL, _UP, "tokens", "reasoning tokens of a call that reasons, plus one"),
    Signal("tool_error", _T, _HITS, _UP, "ratio", "tool calls that said they failed"),
    Signal("tool_silent_failure", _T, _HITS, _UP, "ratio", "tool calls that failed and did not say so"),
    Signal("tool_empty", _T, _HITS, _UP, "ratio", "tool calls that found nothing"),
    Signal("tool_invalid", _T, _HITS, _UP, "ratio", "tool calls that were not offered, malformed or never run"),
    Signal("tool_latency", _T, _LEVEL, _UP, "s", "duration of tool calls that did not fail"),
    Signal("tool_result_size", _T, _LEVEL, _DOWN, "B", "bytes of the result, plus one"),
    Signal("run_failed", _R, _HITS, _UP, "ratio", "runs that failed", symptom=True),
    Signal("run_degraded", _R, _HITS, _UP, "ratio", "runs that ended well on bad ground, or failed", symptom=True),
    Signal("run_rescued", _R, _HITS, _UP, "ratio", "runs that a retry or another model saved", symptom=True),
    Signal("run_looped", _R, _HITS, _UP, "ratio", "runs that went round in circles"),
    Signal("run_invalid_call", _R, _HITS, _UP, "ratio", "runs with a call that was not offered or malformed"),
    Signal("run_stalled", _R, _HITS, _UP, "ratio", "runs that stopped in the middle", symptom=True),
    Signal("run_incomplete", _R, _HITS, _UP, "ratio", "runs whose root never came", pages=False),
    Signal("run_latency", _R, _LEVEL, _UP, "s", "duration of whole runs", symptom=True),
    Signal("run_steps", _R, _LEVEL, _BOTH, "calls", "model calls of a run, plus one", symptom=True),
    Signal("run_tool_calls", _R, _LEVEL, _BOTH, "calls", "tool calls of a run, plus one", symptom=True),
    Signal("run_tokens", _R, _LEVEL, _UP, "tokens", "tokens of a run", symptom=True),
    Signal("run_cost", _R, _LEVEL, _UP, "USD", "cost of a run", symptom=True),
    Signal("run_traffic", _R, Form.EVENTS, _DOWN, "runs", "runs that ended in the window"),
    Signal("run_spend", _R, Form.AMOUNT, _UP, "USD", "cost of all runs in the window", symptom=True, pages=False),
    Signal("run_feedback", _R, _HITS, _UP, "ratio", "evaluations and feedback that were bad"),
)  # fmt: skip

DERIVED: Final = {
    "model_latency": Signal("model_slow", _M, _HITS, _UP, "ratio", "model calls slower than 95% of them used to be"),
    "tool_latency": Signal("tool_slow", _T, _HITS, _UP, "ratio", "tool calls slower than 95% of them used to be"),
    "run_latency": Signal("run_slow", _R, _HITS, _UP, "ratio", "runs slower than 95% of them used to be", symptom=True),
}
"""Signals that the engine makes itself, of the histograms of another; there are no points of them."""

BY_NAME: Final = {signal.name: signal for signal in (*SIGNALS, *DERIVED.values())}
NUMBER: Final = {signal.name: number for number, signal in enumerate(SIGNALS)}
