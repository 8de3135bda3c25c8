"""What Dimwatch can see: which agents send what, which rules see them, how far behind it is, and its canary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pandas as pd

from dashboard.queries import View
from dashboard.source import source

LOOKED_BACK: Final = timedelta(hours=1)
"""What spans carry is read from so short a time only; it changes with releases, not by the minute."""
CANARIES: Final = 20
_TOOL: Final = ("tool_result", "tool_arguments")
_LLM: Final = (
    "finish_reason", "output_tokens", "input_messages", "output_messages", "request_model", "response_model",
    "tool_definitions", "first_token",
)  # fmt: skip
FIELDS: Final = (*_TOOL, *_LLM, "conversation")
COLUMNS: Final = ("who", "traces", "spans", "tool_spans", *_TOOL, "llm_spans", *_LLM[:-1])
"""What is asked about the rules that see an agent, in this order."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How old the newest of everything is; None where there is none."""

    received: pd.Timedelta | None
    """Span that came in."""
    judged: pd.Timedelta | None
    """Run that ended and was judged."""
    closed: pd.Timedelta | None
    """Window that was closed, and so compared with what is normal."""


def agents(view: View) -> pd.DataFrame:
    """By agent: shares of spans that carry each of FIELDS, and the rules that are blind to it or see it partly."""
    since = max(view.since, view.until - LOOKED_BACK)
    found = source().frame("coverage", {"since": since, "until": view.until, "agent": view.agent})
    if found.empty:
        return found
    sight = source().sight
    seen = [sight(row) for row in found[list(COLUMNS)].itertuples(index=False, name=None)] if sight else []
    told = found[["who", "conventions", "spans"]].copy()
    for name in _TOOL:
        told[name] = found[name] / found["tool_spans"].where(found["tool_spans"] > 0)
    for name in _LLM:
        told[name] = found[name] / found["llm_spans"].where(found["llm_spans"] > 0)
    told["conversation"] = found["conversation"] / found["spans"]
    told[list(FIELDS)] = told[list(FIELDS)].round(2)
    if sight:
        told["blind"] = [list(one[0]) for one in seen]
        told["partly"] = [list(one[1]) for one in seen]
    return told


def lag(view: View) -> Lag:
    """How far behind it is, at the end of the time range. A day is read only where an hour does not say it all."""
    told = _lag(view, LOOKED_BACK)
    return told if None not in (told.received, told.judged, told.closed) else _lag(view, timedelta(days=1))


def canaries(view: View) -> pd.DataFrame:
    """The newest canary traces: sent_time, received_time, took_s."""
    return source().frame("canary", {"since": view.until - timedelta(days=1), "rows": CANARIES})


def _lag(view: View, back: timedelta) -> Lag:
    row = source().frame("lag", {"since": view.until - back, "until": view.until}).iloc[0]
    return Lag(*(_age(row[name], pd.Timestamp(view.until)) for name in ("received", "judged", "closed")))


def _age(value: object, now: pd.Timestamp) -> pd.Timedelta | None:
    time: pd.Timestamp = pd.to_datetime(value, utc=True)  # type: ignore[call-overload]
    if pd.isna(time) or time.year < 1980:  # the engine says 1970 where there is nothing
        return None
    return max(now - time, pd.Timedelta(0))
