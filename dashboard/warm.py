"""What whoever opens the first page would else wait for: modules of the pages, and libraries that load most of
themselves with their first use."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dashboard.panels import actions, subject, weather  # noqa: F401  these load all that pages draw with


def up() -> None:
    """Draw a chart and a table of nothing. Half a second, once in a process."""
    frame = pd.DataFrame({"x": [0.0]})
    alt.Chart(frame).mark_line().encode(x="x:Q").to_dict()
    frame.style.hide()
