"""Provider weather on the page Now: how each provider's models do, against the same length of time before."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard import parts, queries
from dashboard.queries import View

_LEAST_CALLS: Final = 20
"""On both sides: fewer say nothing."""
_LEVEL_OFF: Final = 0.2
"""From this much off, as a ratio, a level is marked."""
_RATIO_OFF: Final = 3.0
"""From so many standard errors on a ratio is marked, and from `_LEAST_POINTS`."""
_LEAST_POINTS: Final = 0.01
_WORSE: Final = "color: #e8890c; font-weight: 700"
_BETTER: Final = "color: #5f9e7f"


@dataclass(frozen=True, slots=True)
class _Column:
    """What one column shows."""

    label: str
    ratio: bool
    worse: int
    """1 where more is worse, -1 where less is."""
    help: str


_COLUMNS: Final = {
    "speed": _Column("tokens/s", False, -1, "Output tokens a second, geometric mean."),
    "first_token": _Column("first token", False, 1, "Time to first token of streamed answers, geometric mean."),
    "error": _Column("failed", True, 1, "Calls that failed, rescued or not."),
    "retried": _Column("retried", True, 1, "Calls that were retried or moved to another model."),
    "truncated": _Column("truncated", True, 1, "Answers that were cut at the token limit."),
}


def draw(view: View) -> None:
    """The table; what is clearly worse than before is marked, and says so in words."""
    st.markdown("#### Provider weather: this time range, and the one before it")
    found = queries.weather(view)
    if found.empty:
        st.caption("No window with a model call in this time range yet.")
        return
    texts = pd.DataFrame({"provider": found["provider"], "model": found["model"], "calls": found["calls"]})
    marks = pd.DataFrame("", index=texts.index, columns=texts.columns)
    for name, column in _COLUMNS.items():
        cells = [_cell(row, name, column) for row in found.to_dict("records")]
        texts[name] = [text for text, _ in cells]
        marks[name] = [mark for _, mark in cells]
    texts["provider"] = texts["provider"].replace("", "(not said)")
    texts["model"] = texts["model"].replace("", "(not said)")
    columns = {
        "provider": parts.text("provider", 110),
        "model": parts.text("model", 170),
        "calls": parts.number("calls"),
        **{name: parts.text(column.label, 190, column.help) for name, column in _COLUMNS.items()},
    }
    parts.table(texts, columns, empty="", looks=marks)


def _cell(row: Mapping[Hashable, Any], name: str, column: _Column) -> tuple[str, str]:
    """What a cell says, and how it looks."""
    now, before, n, n_before = (float(row[key]) for key in (name, f"{name}_before", "calls", "calls_before"))
    if math.isnan(now):
        return "", ""
    value = _number(now, column)
    if math.isnan(before):
        return value, ""
    off = _off(now, before, n, n_before, column.ratio)
    if off == 0:
        return f"{value}   was {_number(before, column)}", ""
    worse = off == column.worse
    arrow = "▲" if off > 0 else "▼"
    return f"{arrow} {value}   was {_number(before, column)}", _WORSE if worse else _BETTER


def _off(now: float, before: float, n: float, n_before: float, ratio: bool) -> int:
    """1 if it is clearly more than before, -1 if it is clearly less, else 0."""
    if min(n, n_before) < _LEAST_CALLS:
        return 0
    if not ratio:
        factor = now / before if before > 0 else 1.0
        return 0 if abs(math.log(max(factor, 1e-9))) < math.log1p(_LEVEL_OFF) else 1 if factor > 1 else -1
    pooled = (now * n + before * n_before) / (n + n_before)
    error = math.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / n_before))
    difference = now - before
    if abs(difference) < max(_RATIO_OFF * error, _LEAST_POINTS):
        return 0
    return 1 if difference > 0 else -1


def _number(value: float, column: _Column) -> str:
    if column.ratio:
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if column.label == "tokens/s" else f"{value:.2f} s"
