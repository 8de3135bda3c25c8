"""What agents reach: first seen when, and what is shared between users."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pandas as pd

from dashboard.queries import View
from dashboard.source import source

KINDS: Final = ("tool", "argument", "resource")
ROWS: Final = 500
LOOKED_BACK: Final = timedelta(minutes=30)
"""What tools were called with is read from so short a time only: it is whole documents."""


def counts(view: View) -> dict[str, tuple[int, int]]:
    """By kind: how many are known, and how many of them are new in the time range."""
    found = source().frame("reached_counts", {"since": view.since, "until": view.until})
    told = {} if found.empty else {row["kind"]: (row["known"], row["fresh"]) for row in found.to_dict("records")}
    return {kind: told.get(kind, (0, 0)) for kind in KINDS}


def ledger(view: View, kind: str) -> pd.DataFrame:
    """The newest first: kind, who, tool, name, since, lately, trace_id, fresh (in the time range)."""
    found = source().frame("reached", view.values(kind=kind, rows=ROWS))
    if found.empty:
        return found
    return found.assign(fresh=pd.to_datetime(found["since"], utc=True) >= pd.Timestamp(view.since))


def shared(view: View) -> pd.DataFrame:
    """Identities that tools were called about for several users, at the end of the time range."""
    since = max(view.since, view.until - LOOKED_BACK)
    return source().frame("shared_entities", {**view.values(rows=ROWS), "since": since})
