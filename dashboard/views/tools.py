"""Tools: which of them fail, lie, find nothing or break their contract, and since when."""

from __future__ import annotations

from typing import Final

from dashboard import chosen, health, parts
from dashboard.chosen import Filter
from dashboard.health import Place
from dashboard.panels.subject import Subject, live

_COLUMNS: Final = {
    "tool_error": "failed",
    "tool_silent_failure": "silently failed",
    "tool_empty": "empty",
    "tool_invalid": "broke the schema",
    "tool_latency": "duration",
    "tool_result_size": "result size",
}
_TOOLS: Final = Subject(
    title="Tools, the worst first",
    page="tools",
    by=("tool", "agent"),
    volume=("tool_error", "calls"),
    columns=_COLUMNS,
    drawn=tuple(_COLUMNS),
    spread=("tool_latency", "tool_result_size"),
    empty="No tool was called in this time range.",
)

parts.style()
_view = chosen.view(chosen.AGENT, Filter("tool", "the worst tool", lambda view: health.names(view, "tool")))
live(_TOOLS, _view, Place(tool=_view.picked["tool"], agent=_view.agent))
