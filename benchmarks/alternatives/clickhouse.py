"""Asking a ClickHouse HTTP interface as an account that may read everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class ClickHouse:
    """One database behind the interface."""

    address: str
    user: str
    password: str
    database: str

    def numbers(self, sql: str, ids: Sequence[str] = ()) -> list[int]:
        """The only row of a query; `ids` is bound to {ids:Array(String)}. Raises httpx.HTTPError."""
        parameters = {"database": self.database, "default_format": "JSONCompactEachRow"}
        parameters |= {"output_format_json_quote_64bit_integers": "0", "param_ids": str(list(ids))}
        answer = httpx.post(
            self.address, params=parameters, content=sql.encode(), auth=(self.user, self.password), timeout=120.0
        )
        if answer.is_client_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
        answer.raise_for_status()
        return list(map(int, json.loads(answer.text)))

    def bytes_on_disk(self) -> int:
        """Of the rows that count; those that a merge has replaced are deleted later."""
        return self.numbers(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        )[0]
