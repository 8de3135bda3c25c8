"""How the fleet's signals are shown: one row a signal, in the order in which one stands for an incident's cause.

The columns are those of the fleet's own list of signals; a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shown:
    """How one signal is shown."""

    label: str
    subject: str
    """model, tool or run: which columns of a window name its series."""
    form: str
    """hits, level, events or amount: how a window is read, see `windows` in docs/tables.md."""
    unit: str
    rule: str = ""
    """The rule whose findings are its bad examples."""
    measure: str = ""
    """The measure of `example_calls` or `example_runs` that ranks its bad examples."""
    worse: int = 1
    """-1 where less is worse, 0 where both are."""
    drawn: str = ""
    """The signal whose tail is drawn instead: this one has no windows of its own."""

    @property
    def titled(self) -> str:
        """Its label with its unit, where the label does not say that."""
        unit = self.unit if self.unit not in self.label.split() else ""
        rate = " a minute" if self.form in ("events", "amount") else ""
        return self.label + (f", {unit}" if unit else "") + rate

    def brief(self, value: float) -> str:
        """A value for a narrow cell."""
        if self.form == "hits":
            return f"{100 * value:.1f} %"
        number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"
        return f"{number} {self.unit}" if self.unit in ("s", "B") else number

    def text(self, value: float) -> str:
        """A value for people."""
        if not math.isfinite(value):
            return "unknown"
        if self.form == "hits":
            return f"{100 * value:.1f} %"
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{number} {self.unit}".strip() + (" a minute" if self.form in ("events", "amount") else "")


def _model(label: str, form: str = "hits", unit: str = "", **more: object) -> Shown:
    return Shown(label, "model", form, unit, **more)  # type: ignore[arg-type]


def _tool(label: str, form: str = "hits", unit: str = "", **more: object) -> Shown:
    return Shown(label, "tool", form, unit, **more)  # type: ignore[arg-type]


def _run(label: str, form: str = "hits", unit: str = "", **more: object) -> Shown:
    return Shown(label, "run", form, unit, **more)  # type: ignore[arg-type]


SIGNALS: Final = {
    "model_error": _model("failing model calls", rule="llm_error"),
    "model_interrupted": _model("streams that broke off", rule="interrupted_stream"),
    "model_mismatch": _model("answers of another model than asked", rule="model_mismatch"),
    "model_reasoning_tokens": _model("reasoning tokens of a call", "level", "tokens", measure="reasoning_tokens"),
    "model_truncated": _model("answers cut at the token limit", rule="truncated_output"),
    "model_filtered": _model("answers withheld by a content filter", rule="filtered_output"),
    "model_empty": _model("empty answers", rule="empty_output"),
    "model_speed": _model("output speed", "level", "tokens/s", measure="speed", worse=-1),
    "model_first_token": _model("time to first token", "level", "s", measure="first_token"),
    "tool_invalid": _tool("calls not offered or malformed", rule="invalid_tool_call"),
    "tool_error": _tool("failing tool calls", rule="tool_error"),
    "tool_silent_failure": _tool("tool calls that fail without saying so", rule="silent_tool_failure"),
    "tool_empty": _tool("empty tool results", rule="empty_tool_result"),
    "tool_slow": _tool("slow tool calls", drawn="tool_latency", measure="duration"),
    "tool_latency": _tool("duration of a tool call", "level", "s", measure="duration"),
    "tool_result_size": _tool("size of a tool result", "level", "B", measure="result_size", worse=-1),
    "run_invalid_call": _run("runs with an invalid call", rule="invalid_tool_call"),
    "run_looped": _run("runs in circles", rule="tool_loop"),
    "model_output_tokens": _model("output tokens of a call", "level", "tokens", measure="output_tokens", worse=0),
    "model_slow": _model("slow model calls", drawn="model_latency", measure="duration"),
    "model_latency": _model("duration of a model call", "level", "s", measure="duration"),
    "model_retried": _model("calls retried or moved to another model", rule="rescued_failure"),
    "run_traffic": _run("runs", "events", "runs", worse=-1),
    "run_feedback": _run("bad evaluations"),
    "model_input_tokens": _model("input tokens of a call", "level", "tokens", measure="input_tokens", worse=0),
    "run_steps": _run("model calls of a run", "level", "calls", measure="steps", worse=0),
    "run_tool_calls": _run("tool calls of a run", "level", "calls", measure="tool_calls", worse=0),
    "run_stalled": _run("runs that stopped in the middle", rule="stalled_trace"),
    "run_incomplete": _run("runs without a root", rule="incomplete_trace"),
    "run_failed": _run("failed runs", measure="failed"),
    "run_degraded": _run("runs on bad ground", measure="degraded"),
    "run_rescued": _run("runs saved by a retry or another model", measure="rescued"),
    "run_cost": _run("cost of a run", "level", "USD", measure="cost"),
    "run_tokens": _run("tokens of a run", "level", "tokens", measure="tokens"),
    "run_spend": _run("spending", "amount", "USD", measure="cost"),
    "run_slow": _run("slow runs", drawn="run_latency", measure="duration"),
    "run_latency": _run("duration of a run", "level", "s", measure="duration"),
}


def shown(signal: str) -> Shown:
    """How a signal is shown; one that has no windows is a plain number under its own name."""
    return SIGNALS.get(signal) or Shown(signal.replace("_", " "), "run", "level", "")
