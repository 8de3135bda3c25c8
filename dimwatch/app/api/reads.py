"""What the API reads of ClickHouse: files of `dimwatch/app/sql` with bound values, answers as models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

from detectors.incidents.incident import SCOPE
from dimwatch.app.api.models import Incident, IncidentDetail, Incidents, Order, Silence
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient

EVER_S: Final = 10**10
_PATIENCE_S: Final = 10.0


class Reads:
    """Safe to share between threads. Every method raises RetryableError while the store is away."""

    def __init__(self, settings: Settings) -> None:
        self._client = StoreClient(settings, timeout_s=_PATIENCE_S)

    def incidents(self, filters: Mapping[str, object], rows: int) -> Incidents:
        """One page; `filters` are the values of the query."""
        found = self._rows("api_incidents", {**filters, "rows": rows + 1})
        page = [Incident(**_incident(row)) for row in found[:rows]]
        more = len(found) > rows
        return Incidents(
            incidents=page, next=f"{found[rows - 1]['opened_s']}-{found[rows - 1]['id']}" if more else None
        )

    def incident(self, id_: str) -> IncidentDetail | None:
        """One with all that is known, None for an id that is not."""
        found = self._rows("api_incident", {"id": id_})
        if not found:
            return None
        row = found[0]
        orders = self.orders(incident=id_)
        labels: dict[str, str] = {}
        for order in reversed(orders):
            labels |= order.labels
        more = {name: orjson.loads(row[name] or "[]") for name in ("signals", "causes")}
        return IncidentDetail(**_incident(row), **more, labels=labels, orders=orders)

    def orders(self, *, incident: str = "", id_: str = "") -> list[Order]:
        """What became of orders, newest first."""
        return [
            Order(**_times(row, at="at_s", until="until_s"), **_only(row, Order))
            for row in self._rows("api_orders", {"incident": incident, "id": id_})
        ]

    def silences(self, now_s: int) -> list[Silence]:
        """Those that last."""
        return [
            Silence(**_times(row, since="at_s", until="until_s"), **_only(row, Silence))
            for row in self._rows("api_silences", {"now": now_s})
        ]

    def open(self) -> int:
        """How many incidents are open."""
        return int(self._rows("api_open", {})[0]["open"])

    def _rows(self, query: str, values: Mapping[str, object]) -> list[dict[str, Any]]:
        told = self._client.text(_sql(query), "JSONEachRow", values)
        return [orjson.loads(line) for line in told.splitlines()]


@cache
def _sql(query: str) -> str:
    return (files("dimwatch.app") / "sql" / f"{query}.sql").read_text(encoding="utf-8")


def _incident(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_only(row, Incident),
        **_times(row, opened_at="opened_s", started_at="started_s", resolved_at="resolved_s"),
        "scope": {name: row[name] for name in SCOPE if row[name]},
    }


def _only(row: Mapping[str, Any], model: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in model.model_fields}


def _times(row: Mapping[str, Any], **columns: str) -> dict[str, datetime | None]:
    """Columns of seconds as times, by field."""
    seconds = {field: row[column] for field, column in columns.items()}
    return {field: None if of is None else datetime.fromtimestamp(of, UTC) for field, of in seconds.items()}
