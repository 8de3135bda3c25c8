"""Requests of Opsgenie's Alert API.

https://docs.opsgenie.com/docs/alert-api: a message has 130 characters at most, an alias 512, a description 15,000, a
note 25,000.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from detectors.notify.formats.base import Draft, Request, cut, post
from detectors.notify.page import Event
from dimwatch.targets import OpsgenieTarget

_ENDS: Final = {Event.ACKNOWLEDGE: "acknowledge", Event.SILENCE: "acknowledge", Event.RESOLVE: "close"}
_PRIORITIES: Final = {"critical": "P1", "warning": "P3"}


def request(target: OpsgenieTarget, draft: Draft) -> Request:
    """The request of one attempt."""
    alias, end = alias_of(draft), _ENDS.get(draft.page.event)
    base = f"{target.url.rstrip('/')}/v2/alerts"
    url = f"{base}/{quote(alias, safe='')}/{end}?identifierType=alias" if end else base
    document = ended(draft) if end else created(draft, target.team)
    return post(url, document, Authorization=f"GenieKey {target.secret('api_key')}")


def alias_of(draft: Draft) -> str:
    """What makes messages about the same one alert there."""
    return cut(f"dimwatch-{draft.page.key}", 512)


def created(draft: Draft, team: str = "") -> dict[str, Any]:
    """The body that makes an alert, or is counted by the one that there is."""
    page = draft.page
    first = page.incidents[0]
    told: dict[str, Any] = {
        "message": cut(draft.texts.title or "Dimwatch", 130),
        "alias": alias_of(draft),
        "description": cut(draft.texts.body, 15_000),
        "priority": _PRIORITIES.get(page.severity, "P5"),
        "source": "Dimwatch",
        "entity": cut(first.scope.get("agent") or first.scope.get("model") or "", 512),
        "tags": [tag for tag in ("dimwatch", first.kind, cut(page.tenant, 50)) if tag],
        "details": {
            "incident": first.id,
            "status": page.status,
            "url": draft.url,
            **{name: cut(value, 200) for name, value in first.scope.items()},
        },
    }
    if team:
        told["responders"] = [{"type": "team", "name": team}]
    return told


def ended(draft: Draft) -> dict[str, Any]:
    """The body that acknowledges or closes one."""
    return {"source": "Dimwatch", "note": cut(draft.texts.title, 25_000)}
