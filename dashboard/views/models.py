"""Models: how providers' models do, who really answers, how fast, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import chosen, health, parts, spending
from dashboard.chosen import Filter
from dashboard.health import Health, Place
from dashboard.panels.subject import Subject, live

_COLUMNS: Final = {
    "model_error": "failed",
    "model_retried": "rescued",
    "model_truncated": "truncated",
    "model_mismatch": "another answered",
    "model_first_token": "first token",
    "model_speed": "tokens/s",
    "model_latency": "duration",
}
_DRAWN: Final = (
    *_COLUMNS,
    "model_output_tokens",
    "model_reasoning_tokens",
)


def _money(spent: pd.DataFrame | None, found: Sequence[Health]) -> pd.DataFrame:
    """What each model cost, and who answered for it."""
    by_name = (
        {}
        if spent is None or spent.empty
        else {(row["provider"], row["model"]): row for row in spent.to_dict("records")}
    )
    rows = [by_name.get((one.place.provider, one.place.model), {}) for one in found]
    answered = [list(row.get("answered", ())) for row in rows]
    return pd.DataFrame({"cost_usd": [row.get("cost_usd") for row in rows], "answered": answered})


_MODELS: Final = Subject(
    title="Models, the worst first",
    page="models",
    by=("provider", "model"),
    volume=("model_error", "calls"),
    columns=_COLUMNS,
    drawn=_DRAWN,
    spread=("model_latency", "model_output_tokens"),
    empty="No model was called in this time range.",
    asked=spending.models,
    more=_money,
    more_columns={
        "cost_usd": parts.money("cost"),
        "answered": st.column_config.ListColumn("answered by", width=240),
    },
)

parts.style()
_view = chosen.view(chosen.AGENT, Filter("model", "the worst model", lambda view: health.names(view, "model")))
live(_MODELS, _view, Place(model=_view.picked["model"], agent=_view.agent))
