"""What whoever opens the first page would else wait for: modules of the pages, and libraries that load most of
themselves with their first use."""

from __future__ import annotations

import pandas as pd

from dashboard import multiples, trends
from dashboard.panels import actions, subject, weather  # noqa: F401  these load all that pages draw with


def up() -> None:
    """Draw a table of nothing, and what is drawn most. About a second, once in a process."""
    pd.DataFrame({"x": [0.0]}).style.hide()
    multiples.prepare()
    trends.prepare()
