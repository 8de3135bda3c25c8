"""What kind of incident signals make, and what may be the consequence of what: one row a signal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from detectors.incidents.incident import Kind

OUTAGE_RATE: Final = 0.5
"""From this share of failing calls on it is an outage."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a signal is read in an incident."""

    kind: Kind
    depth: int
    """How far from a cause it is; what is deeper may come of what is not. 0: something is wrong right there.
    1: it is, or a model or tool behaves otherwise for another reason. 2: runs as a whole. 3: a mere symptom."""


_K = Kind
SYMPTOM: Final = 3

READINGS: Final[Mapping[str, Reading]] = {
    # In order of cause: of the direct signals of an incident the first here says what kind it is.
    "model_error": Reading(_K.BROWNOUT, 0),
    "model_interrupted": Reading(_K.BROWNOUT, 0),
    # After failures: routers let another model answer for one that fails.
    "model_mismatch": Reading(_K.MODEL_CHANGE, 0),
    "model_reasoning_tokens": Reading(_K.COST_SPIKE, 0),
    "model_truncated": Reading(_K.QUALITY_DROP, 0),
    "model_filtered": Reading(_K.QUALITY_DROP, 0),
    "model_empty": Reading(_K.QUALITY_DROP, 0),
    "model_speed": Reading(_K.BROWNOUT, 0),
    "model_first_token": Reading(_K.BROWNOUT, 0),
    "tool_invalid": Reading(_K.BEHAVIOUR_SHIFT, 1),
    "tool_error": Reading(_K.TOOL_DEGRADATION, 0),
    "tool_silent_failure": Reading(_K.TOOL_DEGRADATION, 0),
    "tool_empty": Reading(_K.TOOL_DEGRADATION, 0),
    "tool_slow": Reading(_K.TOOL_DEGRADATION, 0),
    "tool_latency": Reading(_K.TOOL_DEGRADATION, 0),
    "tool_result_size": Reading(_K.TOOL_DEGRADATION, 1),
    "run_invalid_call": Reading(_K.BEHAVIOUR_SHIFT, 2),
    "run_looped": Reading(_K.BEHAVIOUR_SHIFT, 2),
    "model_output_tokens": Reading(_K.BEHAVIOUR_SHIFT, 1),
    "model_slow": Reading(_K.BROWNOUT, 1),
    "model_latency": Reading(_K.BROWNOUT, 1),
    "model_retried": Reading(_K.BROWNOUT, 1),
    "run_traffic": Reading(_K.SILENCE, 2),
    "run_feedback": Reading(_K.QUALITY_DROP, 2),
    "model_input_tokens": Reading(_K.COST_SPIKE, SYMPTOM),
    "run_steps": Reading(_K.BEHAVIOUR_SHIFT, SYMPTOM),
    "run_tool_calls": Reading(_K.BEHAVIOUR_SHIFT, SYMPTOM),
    "run_stalled": Reading(_K.QUALITY_DROP, SYMPTOM),
    "run_incomplete": Reading(_K.QUALITY_DROP, SYMPTOM),
    "run_failed": Reading(_K.QUALITY_DROP, SYMPTOM),
    "run_degraded": Reading(_K.QUALITY_DROP, SYMPTOM),
    "run_rescued": Reading(_K.QUALITY_DROP, SYMPTOM),
    "run_cost": Reading(_K.COST_SPIKE, SYMPTOM),
    "run_tokens": Reading(_K.COST_SPIKE, SYMPTOM),
    "run_spend": Reading(_K.COST_SPIKE, SYMPTOM),
    "run_slow": Reading(_K.BROWNOUT, SYMPTOM),
    "run_latency": Reading(_K.BROWNOUT, SYMPTOM),
}

_RANK: Final = {signal: rank for rank, signal in enumerate(READINGS)}


def depth(signal: str) -> int:
    """How far from a cause a signal is."""
    return READINGS[signal].depth


def leading(signals: Collection[str]) -> str:
    """The signal that stands for the cause."""
    return min(signals, key=_RANK.__getitem__)


def kind_of(signals: Collection[str], failing: float = 0.0) -> Kind:
    """The kind of an incident with these direct signals. `failing`: the share of its model calls that fail."""
    kind = READINGS[leading(signals)].kind
    if kind is Kind.BROWNOUT and "model_error" in signals and failing >= OUTAGE_RATE:
        return Kind.OUTAGE
    return kind
