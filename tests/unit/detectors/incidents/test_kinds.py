"""What signals make of an incident."""

from __future__ import annotations

import pytest

from detectors.incidents.incident import Kind
from detectors.incidents.kinds import READINGS, SYMPTOM, depth, kind_of, leading
from detectors.incidents.summary import PHRASES
from detectors.windows.signals import BY_NAME


def test_every_signal_has_a_reading_and_words() -> None:
    assert set(READINGS) == set(BY_NAME) == set(PHRASES)


def test_symptoms_of_signals_are_symptoms_of_incidents() -> None:
    assert all(depth(name) == SYMPTOM for name, signal in BY_NAME.items() if signal.symptom)


@pytest.mark.parametrize(
    ("signals", "failing", "kind"),
    [
        ({"model_speed", "model_first_token", "model_latency"}, 0.0, Kind.BROWNOUT),
        ({"model_error", "model_retried"}, 0.08, Kind.BROWNOUT),
        ({"model_error", "model_latency"}, 0.97, Kind.OUTAGE),
        ({"tool_empty", "tool_result_size"}, 0.0, Kind.TOOL_DEGRADATION),
        ({"tool_slow", "tool_latency"}, 0.0, Kind.TOOL_DEGRADATION),
        ({"model_reasoning_tokens", "model_output_tokens", "model_latency"}, 0.0, Kind.COST_SPIKE),
        ({"tool_invalid", "tool_error"}, 0.0, Kind.BEHAVIOUR_SHIFT),
        ({"run_looped", "run_steps"}, 0.0, Kind.BEHAVIOUR_SHIFT),
        ({"model_truncated", "model_output_tokens"}, 0.0, Kind.QUALITY_DROP),
        ({"run_traffic"}, 0.0, Kind.SILENCE),
        ({"run_cost"}, 0.0, Kind.COST_SPIKE),
        ({"model_mismatch"}, 0.0, Kind.MODEL_CHANGE),
        ({"model_mismatch", "model_error", "model_retried"}, 0.3, Kind.BROWNOUT),
    ],
)
def test_kinds(signals: set[str], failing: float, kind: Kind) -> None:
    assert kind_of(signals, failing) is kind


def test_the_signal_nearest_to_the_cause_leads() -> None:
    assert leading({"run_latency", "model_latency", "model_speed"}) == "model_speed"
