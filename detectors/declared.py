"""Which objectives can be declared; without the libraries that it takes to evaluate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detectors.windows.signals import SIGNALS, Form, Subject
from dimwatch.errors import InvalidError
from dimwatch.settings import Objective

COUNTABLE: Final = {signal.name: signal for signal in SIGNALS if signal.form is Form.HITS}
"""The signals that tell good trials from bad ones."""
_SCOPES: Final = {
    Subject.MODEL: ("agent", "provider", "model"),
    Subject.TOOL: ("agent", "tool"),
    Subject.RUN: ("agent",),
}


def check(objectives: Sequence[Objective]) -> None:
    """Raise InvalidError, with the remedy, for one that can not be evaluated."""
    for objective in objectives:
        which = f"objective {objective.name!r}"
        signal = COUNTABLE.get(objective.signal)
        if signal is None:
            raise InvalidError(
                f"{which}: {objective.signal!r} is not a signal that counts what went badly; choose one of "
                f"{', '.join(sorted(COUNTABLE))}"
            )
        known = _SCOPES[signal.subject]
        strange = sorted(set(objective.scope) - set(known))
        if strange:
            raise InvalidError(f"{which}: {signal.name} has no {strange[0]}; its scope may name {' and '.join(known)}")
