"""What a batch of judged traces adds to the windows: points of every signal, and sightings.

A fact belongs to the window in which it ended, but to none before `due - lateness` of its trace, and to none after
`due`: `due` is the record time at which the trace was judged. So the window of a fact depends on its own trace alone,
a sender's clock can not put it anywhere else, and a window is complete once everything due up to its end plus the
lateness has been judged.

A run is a trace. What comes late to a trace that was judged adds calls, but no second run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context
from detectors.traces.results import State
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.summary import DEGRADED, FAILED, first_said
from detectors.windows.feedback import feedback
from detectors.windows.keys import Column, column
from detectors.windows.model_calls import ModelCalls
from detectors.windows.points import CENT, Cells, Floats, rounded, table_of
from detectors.windows.sightings import sightings
from detectors.windows.users import marks_of
from detectors.windows.where import Where
from dimwatch.clock import NS_PER_SECOND

_MOST_USD: Final = 1e6
"""A call that is said to cost as much has no known price."""
_NO_WORK: Final = ("http", "other", "setup")
"""Kinds of span that alone make no run: a health check is none."""
_LEAST_S: Final = 1e-6
"""Shorter durations count as that."""
_LEAST_TOKENS: Final = 16
"""Of an answer, for its speed to be measured."""
_LEAST_SHARE: Final = 0.05
"""Of a call's time that must be left after the first token, for the speed to be measured over what is left."""
_DOUBTS: Final = ("tool_loop", "model_mismatch")
"""Rules whose findings of doubt count, too: repeats of a tool whose arguments are not captured, and snapshots that an
alias did not mean so far. What of it is usual the baseline learns."""
_SURE: Final = 0.5
"""Confidence that those need."""


@dataclass(slots=True)
class Facts:
    """What one batch adds."""

    points: pa.Table
    """`dimwatch.records.POINT`, windows of POINT_WIDTH_NS; a key may come several times."""
    owner_of_points: Rows
    """By row."""
    sightings: pa.Table
    """`dimwatch.records.SIGHTING`, windows of a minute; likewise."""
    owner_of_sightings: Rows


def facts(
    context: Context,
    findings: Sequence[tuple[Rule, Finding]],
    outcome: Sequence[str],
    due_ns: Rows,
    lateness_ns: int,
    owner: Rows,
) -> Facts:
    """The facts of judged traces. `outcome`, `due_ns` and `owner` by trace: what traces of different owners add is kept
    apart."""
    where = Where(context.batch, due_ns, lateness_ns, owner)
    found = _Found(context.batch, findings)
    calls = ModelCalls(context.batch, where)
    sections = [
        _model_calls(context.batch, calls, found, where),
        _tool_calls(context, found, where),
        _runs(context, found, outcome, where),
        feedback(context.batch, where),
    ]
    return Facts(*table_of(sections), *sightings(context.batch, calls, where))


class _Found:
    """Findings that count, by rule: those of doubt do not, but where a rule is only of information."""

    def __init__(self, batch: TraceBatch, findings: Sequence[tuple[Rule, Finding]]) -> None:
        self._batch = batch
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self.tools: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
        """Row and tool of the findings, by rule."""
        for rule, finding in findings:
            doubtful = finding.severity is Severity.INFO and rule.severity is not Severity.INFO
            if doubtful and not (rule.name in _DOUBTS and finding.confidence >= _SURE):
                continue
            self._rows[rule.name].append(finding.row)
            self.tools[rule.name].add((finding.row, finding.tool))

    def rows(self, rule: str) -> Mask:
        """By span row: is there a finding of the rule?"""
        mask = np.zeros(len(self._batch), dtype=np.bool_)
        mask[self._rows[rule]] = True
        return mask

    def traces(self, rule: str) -> Mask:
        """By trace: is there one?"""
        mask = np.zeros(self._batch.traces, dtype=np.bool_)
        mask[self._batch.trace[self._rows[rule]]] = True
        return mask


def _model_calls(batch: TraceBatch, calls: ModelCalls, found: _Found, where: Where) -> Cells:
    providers = column(batch.provider.take(pa.array(calls.row)))
    cells = Cells(
        where.keys("model", calls.row, provider=providers, model=calls.model),
        where.window_ns(calls.row, batch.end[calls.row]),
        where.owner(calls.row),
    )
    every, answers = np.ones(len(calls), dtype=np.bool_), calls.is_answer
    good, failed = ~calls.failed, calls.failed
    cells.hits("model_error", every, failed)
    reasons = answers & good & calls.present("finish_reason")
    truncated = calls.marked(found.rows("truncated_output"))
    filtered = calls.marked(found.rows("filtered_output"))
    cells.hits("model_truncated", reasons | truncated, truncated)
    cells.hits("model_filtered", reasons | filtered, filtered)
    empty = calls.marked(found.rows("empty_output"))
    output = calls.numbers("output_tokens")
    told = calls.present("output_messages") | ~np.isnan(output)
    cells.hits("model_empty", answers & good & told | empty, empty)
    cells.hits("model_interrupted", answers, calls.marked(found.rows("interrupted_stream")))
    both = calls.present("request_model") & calls.present("response_model")
    cells.hits("model_mismatch", answers & both, calls.marked(found.rows("model_mismatch")))
    cells.hits("model_retried", answers, calls.marked(found.rows("rescued_failure")))

    seconds = calls.duration_ns / NS_PER_SECOND
    first = calls.numbers("time_to_first_token_ns") / NS_PER_SECOND
    cells.level("model_latency", good, seconds, _LEAST_S)
    cells.level("model_first_token", good & answers & (first > 0), first, _LEAST_S)
    left = seconds - first
    streaming = (first > 0) & (left >= _LEAST_SHARE * seconds)
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = output / np.where(streaming, left, seconds)
    cells.level("model_speed", good & answers & (output >= _LEAST_TOKENS), speed)
    cells.level("model_output_tokens", good & answers & (output > 0), output)
    inputs = calls.numbers("input_tokens")
    cells.level("model_input_tokens", good & (inputs > 0), inputs)
    reasoning = calls.numbers("reasoning_tokens")
    cells.level("model_reasoning_tokens", good & answers & (reasoning >= 0), reasoning + 1)
    return cells


def _tool_calls(context: Context, found: _Found, where: Where) -> Cells:
    batch, calls = context.batch, context.calls
    every_name = column(calls.name)
    named = np.flatnonzero(every_name.of != every_name.number(""))
    rows, own = calls.row[named], calls.tool_row[named]
    names = every_name.at(named)
    has_span = own != NONE
    span = np.maximum(own, 0)
    ends = np.where(has_span, batch.end[span], calls.time[named]) if len(batch) else calls.time[named]
    cells = Cells(where.keys("tool", rows, tool=names), where.window_ns(rows, ends), where.owner(rows))
    failed = context.call_failed[named]
    state = context.verdicts.state[named]
    captured = (state != State.MISSING) & (state != State.REDACTED)
    silent = _of_calls(found, "silent_tool_failure", rows, names)
    every = np.ones(len(named), dtype=np.bool_)
    cells.hits("tool_error", has_span, failed)
    cells.hits("tool_silent_failure", has_span | captured | silent, silent)
    cells.hits("tool_empty", captured & ~failed, state == State.EMPTY)
    cells.hits("tool_invalid", every, _of_calls(found, "invalid_tool_call", rows, names))
    seconds = (batch.end - batch.start)[span] / NS_PER_SECOND
    cells.level("tool_latency", has_span & ~failed & ~silent, seconds, _LEAST_S)
    size = pc.fill_null(pc.binary_length(calls.result.take(pa.array(named))), 0).to_numpy(zero_copy_only=False)
    cells.level("tool_result_size", captured & ~failed & ~silent, size.astype(np.float64) + 1)
    return cells


def _of_calls(found: _Found, rule: str, rows: Rows, names: Column) -> Mask:
    """By tool call: is there a finding of the rule on its row? A model's span may stand for several calls: then the
    tool tells which."""
    hit = found.rows(rule)[rows]
    at = np.flatnonzero(hit)
    pairs = found.tools[rule]
    for call, row, name in zip(at.tolist(), rows[at].tolist(), names.array(at).to_pylist(), strict=True):
        hit[call] = (row, name) in pairs or (row, "") in pairs
    return hit


def _runs(context: Context, found: _Found, outcome: Sequence[str], where: Where) -> Cells:
    batch = context.batch
    runs = np.flatnonzero(batch.any_by_trace(~batch.kind(*_NO_WORK)) & ~batch.late)
    last_end = np.zeros(batch.traces, dtype=np.int64)
    np.maximum.at(last_end, batch.trace, batch.end)
    rows = batch.root[runs]
    cells = Cells(where.keys("run", rows), where.window_ns(rows, last_end[runs]), where.owner(rows))
    every = np.ones(len(runs), dtype=np.bool_)
    ended = pa.array([outcome[run] for run in runs.tolist()], pa.string())
    failed, degraded = (pc.equal(ended, word).to_numpy(zero_copy_only=False) for word in (FAILED, DEGRADED))
    cells.hits("run_failed", every, failed)
    cells.hits("run_degraded", every, failed | degraded)
    cells.hits("run_rescued", every, found.traces("rescued_failure")[runs] & ~failed)
    cells.hits("run_looped", every, found.traces("tool_loop")[runs])
    cells.hits("run_invalid_call", every, found.traces("invalid_tool_call")[runs])
    cells.hits("run_stalled", every, found.traces("stalled_trace")[runs])
    rooted = batch.any_by_trace(batch.is_root)[runs]
    cells.hits("run_incomplete", every, ~rooted)

    duration = (last_end - batch.start[batch.first[:-1]])[runs] / NS_PER_SECOND
    cells.level("run_latency", rooted, duration, _LEAST_S)
    steps = np.bincount(batch.trace[batch.model_calls], minlength=batch.traces)[runs]
    tools = np.bincount(context.calls.trace, minlength=batch.traces)[runs]
    cells.level("run_steps", every, steps.astype(np.float64) + 1)
    cells.level("run_tool_calls", every, tools.astype(np.float64) + 1)
    tokens = _by_trace(batch, "input_tokens") + _by_trace(batch, "output_tokens")
    cells.level("run_tokens", every, tokens[runs])
    cost, unknown = _cost(batch)
    cells.level("run_cost", ~unknown[runs], cost[runs])
    users = marks_of(where.column("tenant").at(rows), column(first_said(batch, "user_id")).at(runs))
    cells.events("run_traffic", users)
    cells.amount("run_spend", cost[runs] > 0, cost[runs])
    return cells


def _by_trace(batch: TraceBatch, name: str) -> Floats:
    rows = np.flatnonzero(batch.counted)
    values = pc.fill_null(batch.take(name, rows), 0).to_numpy(zero_copy_only=False)
    return np.bincount(batch.trace[rows], weights=values, minlength=batch.traces).astype(np.float64)


def _cost(batch: TraceBatch) -> tuple[Floats, Mask]:
    """By trace: the cost of its priced calls, and whether a call has no known price."""
    rows = np.flatnonzero(batch.counted)
    costs = batch.take("cost_usd", rows).to_numpy(zero_copy_only=False).astype(np.float64)
    known = (costs >= 0) & (costs < _MOST_USD)
    total = np.bincount(batch.trace[rows[known]], weights=rounded(costs[known], CENT), minlength=batch.traces)
    return total.astype(np.float64), np.bincount(batch.trace[rows[~known]], minlength=batch.traces) > 0
