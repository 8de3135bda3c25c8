"""Provider weather on the page Now: how each provider's models do, against what they did before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import streamlit as st

from dashboard import health
from dashboard.health import Health
from dashboard.panels import health as table
from dashboard.queries import View

_SIGNALS: Final = {
    "model_first_token": "first token",
    "model_speed": "tokens/s",
    "model_error": "failed",
    "model_retried": "rescued",
    "model_truncated": "truncated",
}


def asked(view: View) -> list[Health]:
    """Models with what is told of them."""
    return health.health(view, ("provider", "model"), ("model_error", *_SIGNALS))


def draw(view: View, found: Sequence[Health]) -> None:
    """The table; what is clearly worse than before is marked, and says so in words."""
    st.markdown("#### Provider weather")
    table.draw(
        found,
        ("provider", "model"),
        ("model_error", "calls"),
        _SIGNALS,
        empty="No window with a model call in this time range yet.",
        link="models",
    )
    if found:
        st.caption(table.compared(view))
