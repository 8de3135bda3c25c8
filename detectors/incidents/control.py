"""What people say of incidents: records of the topic `control`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
import xxhash

from dimwatch.clock import NS_PER_SECOND, rfc3339
from dimwatch.errors import InvalidError

TOPIC: Final = "control"
SCOPE: Final = ("tenant", "kind", "provider", "model", "agent", "tool")
"""What a silence may be about."""
MOST_LABELS: Final = 20
_LONGEST: Final = 4_096
"""Characters of any one text."""
_TEXTS: Final = ("id", "incident", "silence", "by", "note")


class Action(StrEnum):
    """What may be said."""

    ACKNOWLEDGE = "acknowledge"
    """Somebody is at it; what it is like now counts as normal from here on."""
    SILENCE = "silence"
    """Nothing more is sent, until a time: about one incident, or about all of a scope, those to come too."""
    END_SILENCE = "end_silence"
    """A silence is over before its time."""
    RESOLVE = "resolve"
    """It is over."""
    FALSE = "false"
    """It never was one: what it is like now counts as normal."""
    LABEL = "label"
    """What people know of it, as names and values: its cause, say."""


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that somebody said."""

    action: Action
    incident: str
    """Id of the incident that it is about; "" for the silence of a scope, and for its end."""
    at_ns: int
    by: str = ""
    note: str = ""
    until_ns: int | None = None
    """Of a silence."""
    id: str = ""
    """The same again is the same order said twice. That of a silence is the silence's too."""
    scope: Mapping[str, str] = field(default_factory=dict)
    """Of a silence without an incident: by dimension of `SCOPE`, the value that an incident must have there."""
    silence: str = ""
    """Id of the silence that ends."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As a record's value: JSON."""
        told: dict[str, Any] = {"action": self.action.value, "at": rfc3339(self.at_ns)}
        texts = {name: getattr(self, name) for name in _TEXTS}
        maps = {"scope": dict(self.scope), "labels": dict(self.labels)}
        told.update({name: value for name, value in {**texts, **maps}.items() if value})
        if self.until_ns is not None:
            told["until"] = rfc3339(self.until_ns)
        return orjson.dumps(told)

    def row(self, outcome: str, tenant: str, version: int) -> dict[str, object]:
        """A row of `dimwatch.records.ORDER`: what became of it."""
        return {
            **{name: getattr(self, name) for name in _TEXTS},
            "tenant": tenant,
            "time": self.at_ns,
            "action": self.action.value,
            "scope": list(self.scope.items()),
            "until": self.until_ns,
            "labels": list(self.labels.items()),
            "outcome": outcome,
            "version": version,
        }


def read(value: bytes) -> Order:
    """Undo `Order.encode`; an order that has no id gets one by its content. Raises InvalidError for anything else, and
    for an order that does not say enough."""
    try:
        told = orjson.loads(value)
        texts = {name: _text(told.get(name, "")) for name in _TEXTS}
        texts["id"] = texts["id"] or xxhash.xxh3_128_hexdigest(value)
        order = Order(
            Action(told["action"]),
            at_ns=_ns(told["at"]),
            until_ns=_ns(told["until"]) if "until" in told else None,
            scope=_texts(told.get("scope", {})),
            labels=_texts(told.get("labels", {})),
            **texts,
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InvalidError(f"not an order about an incident: {error!r}") from error
    if missing := _missing(order):
        raise InvalidError(f"an order to {order.action.value} needs {missing}")
    return order


def _missing(order: Order) -> str:
    """What an order does not say and must."""
    if order.action is Action.SILENCE:
        if order.until_ns is None:
            return "`until`, the RFC 3339 time at which it ends"
        if not order.incident and not (order.scope and order.scope.keys() <= set(SCOPE)):
            return f"`incident`, or a `scope` of some of {', '.join(SCOPE)}"
    elif order.action is Action.END_SILENCE:
        return "" if order.silence else "`silence`, the id of the silence"
    elif not order.incident:
        return "`incident`, the id of the incident"
    if order.action is Action.LABEL and not 1 <= len(order.labels) <= MOST_LABELS:
        return f"`labels`, one to {MOST_LABELS} names and values"
    return ""


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"a text of at most {_LONGEST} characters is expected")
    return value


def _texts(values: Mapping[object, object]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}


def _ns(value: str) -> int:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return int(moment.astimezone(UTC).timestamp()) * NS_PER_SECOND
