"""What runs cost: over time, for whom, by which model, and what of it was in vain."""

from __future__ import annotations

import pandas as pd

from dashboard.queries import View
from dashboard.source import source


def models(view: View) -> pd.DataFrame:
    """By provider and model: calls, cost, tokens."""
    return source().frame("model_spend", view.values())
