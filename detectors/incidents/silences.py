"""Silences of scopes: nothing is sent about the incidents that they cover until they end, those to come included."""

from __future__ import annotations

from typing import Any, Final

from detectors.incidents import control
from detectors.incidents.control import Order
from detectors.incidents.incident import Incident

MOST: Final = 500
"""Silences at a time."""


class Silences:
    """Those that have not ended. They say nothing of severity: what is silenced is shown, and wakes nobody."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def begin(self, order: Order) -> bool:
        """Whether there was room for one more."""
        if len(self._orders) >= MOST:
            return False
        self._orders[order.id] = order
        return True

    def end(self, id_: str) -> bool:
        """Whether there was such a silence."""
        return self._orders.pop(id_, None) is not None

    def expire(self, now_ns: int) -> None:
        """Forget those whose time is over."""
        for id_ in [id_ for id_, order in self._orders.items() if (order.until_ns or 0) <= now_ns]:
            del self._orders[id_]

    def cover(self, incident: Incident) -> bool:
        """Whether any is about this incident: it has the value that the silence names in each of its dimensions."""
        if not self._orders:
            return False
        values = {"tenant": incident.tenant, "kind": incident.kind.value}
        values |= {name: incident.scope.value(name) for name in control.SCOPE if name not in values}
        return any(order.scope.items() <= values.items() for order in self._orders.values())

    def state(self) -> list[Any]:
        """As JSON."""
        return [order.encode().decode() for order in self._orders.values()]

    def restore(self, state: list[Any]) -> None:
        """Undo `state`."""
        orders = [control.read(order.encode()) for order in state]
        self._orders = {order.id: order for order in orders}
