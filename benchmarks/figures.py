"""A measured figure, as a table row and as a JSON line."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement."""

    name: str
    value: float
    unit: str

    def json(self) -> str:
        """The line that machines read."""
        return json.dumps({"figure": self.name, "value": round(self.value, 4), "unit": self.unit})
