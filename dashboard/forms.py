"""Charts that are drawn anew every few seconds: what one is made of, apart from its data.

Two drawings differ in their data only. So what a chart is made of is computed once, which takes longer than all queries
of a page, and a browser that shows it already exchanges the data and keeps the chart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd


def of(name: str) -> alt.Chart:
    """A chart of the data that `drawn` is given under that name."""
    return alt.Chart(alt.NamedData(name))


def text(chart: alt.LayerChart) -> str:
    """The form of a chart, for `drawn`. A text `<name>` in it is a word that is said later."""
    return json.dumps(chart.to_dict())


def drawn(form: str, words: Mapping[str, str], data: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """A chart for Vega-Lite, of a form, its words and its data by name."""
    for name, word in words.items():
        form = form.replace(f'"<{name}>"', json.dumps(word))
    return {**json.loads(form), "datasets": data}
