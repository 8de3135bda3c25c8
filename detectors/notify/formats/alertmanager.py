"""Alerts for a Prometheus Alertmanager, by its API v2.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml: labels are what an alert is known by; one that
is not sent again before its endsAt is over.
"""

from __future__ import annotations

from typing import Any, Final

from detectors.notify.formats.base import Draft, Request, bearer, post
from detectors.notify.page import Event, Told
from dimwatch.clock import NS_PER_SECOND, rfc3339
from dimwatch.targets import AlertmanagerTarget

_MISSED: Final = 3
"""So many sendings may get lost until an alert is over."""


def request(target: AlertmanagerTarget, draft: Draft, heartbeat_m: float) -> Request:
    """The request of one attempt. `heartbeat_m`: minutes between heartbeats."""
    url = f"{target.url.rstrip('/')}/api/v2/alerts"
    return post(url, document(target, draft, heartbeat_m), Authorization=bearer(target.secret("bearer")))


def document(target: AlertmanagerTarget, draft: Draft, heartbeat_m: float = 5.0) -> list[dict[str, Any]]:
    """The body: an alert for each incident."""
    page = draft.page
    if page.event is Event.HEARTBEAT:
        labels = {**target.labels, "alertname": "DimwatchHeartbeat", "severity": "none"}
        note = {"summary": draft.texts.title}
        return [{"labels": labels, "annotations": note, **_times(page.at_ns, _until(draft, heartbeat_m))}]
    return [_alert(target, incident, draft) for incident in page.incidents]


def _alert(target: AlertmanagerTarget, incident: Told, draft: Draft) -> dict[str, Any]:
    name = "".join(part.capitalize() for part in incident.kind.split("_"))
    labels = {
        **target.labels,
        "alertname": f"Dimwatch{name}",
        "severity": incident.severity,
        "incident": incident.id,
        "tenant": incident.tenant,
        **incident.scope,
    }
    ends_ns = _until(draft, target.resend_m) if incident.live else incident.resolved_ns or draft.now_ns
    alert = {
        "labels": {label: value for label, value in labels.items() if value},
        "annotations": {"summary": incident.summary, "description": draft.texts.body, "status": incident.status},
        **_times(incident.opened_ns, max(ends_ns, incident.opened_ns)),
    }
    url = draft.urls.get(incident.id, "")
    return alert | ({"generatorURL": url} if url else {})


def _until(draft: Draft, minutes: float) -> int:
    return draft.now_ns + int(_MISSED * minutes * 60 * NS_PER_SECOND)


def _times(starts_ns: int, ends_ns: int) -> dict[str, str]:
    return {"startsAt": rfc3339(starts_ns, 3), "endsAt": rfc3339(ends_ns, 3)}
