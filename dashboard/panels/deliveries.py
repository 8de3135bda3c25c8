"""Who was told of an incident, attempt by attempt."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboard import parts
from dashboard.source import source

_ROWS: Final = 200
_LOOKS: Final = {"given_up": "color: #cf4f5f; font-weight: 600", "retrying": "color: #e8890c; font-weight: 600"}


def draw(incident_id: str) -> None:
    """The ledger of deliveries."""
    st.markdown("#### Who was told")
    found = source().frame("incident_deliveries", {"id": incident_id, "rows": _ROWS})
    looks = None
    if not found.empty:
        looks = pd.DataFrame("", index=found.index, columns=list(found.columns))
        looks["state"] = [_LOOKS.get(state, "") for state in found["state"]]
        found = found.assign(
            time=parts.local(found["time"]),
            next_attempt_at=parts.local(found["next_attempt_at"]),
            state=found["state"].str.replace("_", " "),
        )
    columns = {
        "time": parts.moment("time"),
        "event": parts.text("event", 90),
        "target": parts.text("to", 120),
        "target_type": parts.text("by", 90),
        "route": parts.text("route", 100),
        "attempt": parts.number("attempt"),
        "state": parts.text("state", 90),
        "status": parts.number("status", "HTTP or SMTP status of the answer.", "%d"),
        "seconds": parts.seconds("took"),
        "next_attempt_at": parts.moment("tried again"),
        "error": parts.text("why", 300),
    }
    looks = None if looks is None else looks[list(columns)]
    parts.table(found, columns, empty="Nobody was told: no target is set, or no route leads to one.", looks=looks)
