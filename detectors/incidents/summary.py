"""An incident in one sentence: where, what, from what to what, since when, on how many agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detectors.alerts import Node
from detectors.incidents.incident import Incident, Kind, Measure
from detectors.incidents.kinds import leading
from detectors.windows.signals import BY_NAME, Form
from detectors.windows.users import MOST
from dimwatch.clock import NS_PER_SECOND

PHRASES: Final = {
    "model_error": "failing calls",
    "model_truncated": "answers cut at the token limit",
    "model_filtered": "answers withheld by a content filter",
    "model_empty": "empty answers",
    "model_interrupted": "streams that broke off",
    "model_mismatch": "answers of another model than asked",
    "model_retried": "calls retried or moved to another model",
    "model_latency": "duration of a call",
    "model_slow": "slow calls",
    "model_first_token": "time to first token",
    "model_speed": "output speed",
    "model_output_tokens": "output tokens of a call",
    "model_input_tokens": "input tokens of a call",
    "model_reasoning_tokens": "reasoning tokens of a call",
    "tool_error": "failing calls",
    "tool_silent_failure": "calls that fail without saying so",
    "tool_empty": "empty results",
    "tool_invalid": "calls that were not offered or malformed",
    "tool_latency": "duration of a call",
    "tool_slow": "slow calls",
    "tool_result_size": "size of a result",
    "run_failed": "failed runs",
    "run_degraded": "runs on bad ground",
    "run_rescued": "runs saved by a retry or another model",
    "run_looped": "runs in circles",
    "run_invalid_call": "runs with an invalid call",
    "run_stalled": "runs that stopped in the middle",
    "run_incomplete": "runs without a root",
    "run_slow": "slow runs",
    "run_latency": "duration of a run",
    "run_steps": "model calls of a run",
    "run_tool_calls": "tool calls of a run",
    "run_tokens": "tokens of a run",
    "run_cost": "cost of a run",
    "run_traffic": "runs",
    "run_spend": "spending",
    "run_feedback": "bad evaluations",
}
_MOST_OTHERS: Final = 2
_SEVERAL: Final = 1.5


def sentence(incident: Incident, agents: int, change: str = "") -> str:
    """The summary. `agents`: how many it concerns. `change`: what changed, where that is the incident."""
    measures = [m for m in incident.measures.values() if m.direct] or list(incident.measures.values())
    where = place(incident.scope)
    since = f"since {clock(incident.started_ns)} UTC"
    on = f" on {agents} agents" if agents > 1 and not incident.scope.value("agent") else ""
    about = "about" if incident.users < MOST else "at least"
    on += f", {about} {float(f'{incident.users:.2g}'):,.0f} users" if incident.users >= _SEVERAL else ""
    if incident.kind is Kind.MODEL_CHANGE and change:
        return f"{where}: {change} {since}{on}{_others(measures)}."
    if not measures:
        return f"{where}: {incident.kind.value.replace('_', ' ')} {since}{on}."
    lead = leading([measure.signal for measure in measures])
    first = incident.measures[lead]
    rest = [measure for measure in measures if measure.signal != lead]
    return f"{where}: {_told(first)} {since}{on}{_others(rest)}."


def place(scope: Node) -> str:
    """A scope in words, the widest part first."""
    names = [scope.value(name) for name in ("provider", "model", "agent", "tool") if scope.value(name)]
    extra = [f"{name} {scope.value(name)}" for name in ("release", "region") if scope.value(name)]
    return " / ".join((*names, *extra)) or "whole fleet"


def _others(measures: Sequence[Measure]) -> str:
    order = sorted(measures, key=lambda m: (-m.evidence, m.signal))[:_MOST_OTHERS]
    return "".join(f"; {_short(measure)}" for measure in order)


def _told(measure: Measure) -> str:
    signal = BY_NAME[measure.signal]
    phrase = PHRASES[measure.signal]
    if signal.form is Form.HITS:
        return f"{phrase} rose from {percent(measure.expected)} to {percent(measure.observed)}"
    if signal.form is Form.EVENTS:
        if measure.observed == 0:
            return f"no {phrase} (expected {_number(measure.expected)} a minute)"
        return f"{phrase} fell from {_number(measure.expected)} to {_number(measure.observed)} a minute"
    if measure.expected <= 0:
        return f"{phrase} is {_number(measure.observed)} {signal.unit}"
    off = measure.observed / measure.expected - 1
    verb, sign = ("rose", "+") if off >= 0 else ("fell", "−")
    return (
        f"{phrase} {verb} from {_number(measure.expected)} to {_number(measure.observed)} {signal.unit} "
        f"({sign}{abs(off):.0%})"
    )


def _short(measure: Measure) -> str:
    signal = BY_NAME[measure.signal]
    phrase = PHRASES[measure.signal]
    if signal.form is Form.HITS:
        return f"{phrase} {percent(measure.expected)} → {percent(measure.observed)}"
    if measure.expected <= 0:
        return f"{phrase} {_number(measure.observed)} {signal.unit}"
    factor = measure.observed / measure.expected
    slow = signal.unit == "s"
    if factor >= 1:
        return f"{phrase} {factor:.1f}×" + (" longer" if slow else "")
    return f"{phrase} −{1 - factor:.0%}"


def percent(rate: float) -> str:
    """A rate as people read it."""
    return f"{rate:.1%}" if rate < 0.1 else f"{rate:.0%}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def clock(ns: int) -> str:
    """The time of day, UTC."""
    minutes = ns // NS_PER_SECOND // 60 % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
