"""What the dashboard says of signals agrees with the detectors' own list."""

from __future__ import annotations

import math

from dashboard.signals import SIGNALS, shown
from detectors.incidents.kinds import READINGS
from detectors.windows.signals import BY_NAME, DERIVED


def test_signals_are_those_of_the_fleet_in_its_order() -> None:
    assert list(SIGNALS) == list(READINGS)
    derived = {signal.name: base for base, signal in DERIVED.items()}
    for name, how in SIGNALS.items():
        signal = BY_NAME[name]
        worse = {"up": 1, "down": -1, "both": 0}[signal.worse]
        unit = "" if signal.form == "hits" else signal.unit
        assert (how.subject, how.form, how.worse, how.unit) == (signal.subject, signal.form, worse, unit), name
        assert how.drawn == derived.get(name, ""), name


def test_values_are_said_in_their_units() -> None:
    assert SIGNALS["model_error"].text(0.1234) == "12.3 %"
    assert SIGNALS["model_speed"].text(39.21) == "39.2 tokens/s"
    assert SIGNALS["run_traffic"].text(2.5) == "2.5 runs a minute"
    assert SIGNALS["run_tokens"].text(math.nan) == "unknown"
    assert shown("burn_rate_1h").text(14.4) == "14.4"
