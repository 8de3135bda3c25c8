"""Silences that last: what nothing is sent about, until when, and who said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd

from dashboard.incidents import Incident
from dashboard.source import source

_MOST: Final = 1_000
_SCOPE: Final = ("tenant", "kind", "provider", "model", "agent", "tool")
"""What a silence may be about."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One that lasts."""

    id: str
    incident: str
    """Of one incident; "" for one of a scope."""
    scope: Mapping[str, str]
    ends: pd.Timestamp
    by: str
    note: str

    def covers(self, about: Incident) -> bool:
        """Whether an incident is silent by it."""
        return self.incident == about.id if self.incident else self.scope.items() <= scope_of(about).items()

    @property
    def words(self) -> str:
        """What it is about."""
        return f"incident {self.incident}" if self.incident else scope_words(self.scope)


def silences(about: Incident, now: pd.Timestamp) -> list[Silence]:
    """Those that last, first the ones that cover this incident."""
    found = source().frame("silences", {"until": now, "rows": _MOST})
    every = [
        Silence(
            str(row["id"]),
            str(row["incident"]),
            dict(row["scope"]),
            pd.Timestamp(row["ends"]),
            str(row["by"]),
            str(row["note"]),
        )
        for row in found.to_dict("records")
    ]
    return sorted(every, key=lambda one: not one.covers(about))


def scope_of(about: Incident) -> dict[str, str]:
    """What an incident is about, as far as a silence can name it."""
    values = {"tenant": about.tenant, "kind": about.kind, **about.scope}
    return {name: values[name] for name in _SCOPE if values[name]}


def scope_words(scope: Mapping[str, str]) -> str:
    """A scope in words, in the order of dimensions."""
    return ", ".join(f"{name} {scope[name]}" for name in _SCOPE if name in scope)
