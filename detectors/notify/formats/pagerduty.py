"""Events of PagerDuty's Events API v2.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events: a summary has 1,024 characters at most, a dedup_key
255.
"""

from __future__ import annotations

from typing import Any, Final

from detectors.notify.formats.base import Draft, Request, cut, post
from detectors.notify.page import Event
from dimwatch.clock import rfc3339
from dimwatch.targets import PagerDutyTarget

_ACTIONS: Final = {
    Event.ACKNOWLEDGE: "acknowledge",
    Event.SILENCE: "acknowledge",
    Event.RESOLVE: "resolve",
}
_SEVERITIES: Final = {"critical": "critical", "warning": "warning"}
_MOST_SUMMARY: Final = 1024
_MOST_KEY: Final = 255
_MOST_DETAILS: Final = 20_000


def request(target: PagerDutyTarget, draft: Draft) -> Request:
    """The request of one attempt."""
    return post(target.url, document(draft, target.secret("routing_key")))


def document(draft: Draft, routing_key: str) -> dict[str, Any]:
    """The body. Events with the same dedup_key are one alert there."""
    page = draft.page
    action = _ACTIONS.get(page.event, "trigger")
    told: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": cut(f"dimwatch/{page.key}", _MOST_KEY),
    }
    if action != "trigger":
        return told
    first = page.incidents[0]
    told |= {
        "client": "Dimwatch",
        "payload": {
            "summary": cut(f"{draft.texts.title} {first.summary}".strip(), _MOST_SUMMARY),
            "source": first.scope.get("agent") or first.scope.get("provider") or first.tenant or "dimwatch",
            "severity": _SEVERITIES.get(page.severity, "info"),
            "timestamp": rfc3339(min(incident.opened_ns for incident in page.incidents), 3),
            "component": first.scope.get("model") or first.scope.get("tool") or "",
            "group": page.tenant,
            "class": first.kind,
            "custom_details": {
                "incidents": [incident.id for incident in page.incidents],
                "text": cut(draft.texts.body, _MOST_DETAILS),
            },
        },
    }
    if draft.url:
        told |= {"client_url": draft.url, "links": [{"href": draft.url, "text": "Open in Dimwatch"}]}
    return told
