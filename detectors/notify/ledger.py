"""Rows of the table `deliveries`: every attempt, and every time that none was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import xxhash

from detectors.notify.outbox import Message, Result
from detectors.notify.page import Told
from dimwatch import records

_BEGUN: Final = 1
_ENDED: Final = 2


class Ledger:
    """What happened since the rows were last taken."""

    def __init__(self, types: Mapping[str, str]) -> None:
        """`types`: of the targets, by name."""
        self._types = types
        self._rows: list[dict[str, object]] = []

    def add(
        self,
        message: Message,
        time_ns: int,
        state: str,
        result: Result | None = None,
        next_ns: int | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """An attempt began or ended; `whole`: it is not about an attempt but about the message as such."""
        attempt = 0 if whole else message.attempts
        page = message.page
        self._row(
            id=xxhash.xxh3_128_hexdigest(f"{message.key}\x1f{attempt}".encode()),
            tenant=page.tenant,
            time=time_ns,
            route=message.route,
            target=message.target,
            target_type=self._types.get(message.target, ""),
            event=page.event.value,
            incidents=[incident.id for incident in page.incidents],
            idempotency_key=message.key,
            attempt=attempt,
            state=state,
            status=result.status if result else None,
            duration_ns=result.duration_ns if result else None,
            error=result.error if result else "",
            next_attempt_at=next_ns,
            version=_BEGUN if state == "sending" else _ENDED,
        )

    def skip(self, incident: Told, reason: str, now_ns: int) -> None:
        """Nobody is told of an incident."""
        self._row(
            id=xxhash.xxh3_128_hexdigest(f"skip\x1f{incident.id}\x1f{reason}".encode()),
            tenant=incident.tenant,
            time=now_ns,
            route="",
            target="",
            target_type="",
            event="",
            incidents=[incident.id],
            idempotency_key="",
            attempt=0,
            state="skipped",
            status=None,
            duration_ns=None,
            error=reason,
            next_attempt_at=None,
            version=_ENDED,
        )

    def take(self) -> pa.Table | None:
        """The rows, as `dimwatch.records.DELIVERY`; None where there are none."""
        rows, self._rows = self._rows, []
        return records.table_from_rows(records.DELIVERY, rows) if rows else None

    def _row(self, **row: object) -> None:
        self._rows.append(row)
