"""JSON of our own, signed by the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks.webhooks import Webhook

from detectors.notify.formats.base import Draft, Request, bearer, post
from detectors.notify.page import Event, Told
from dimwatch.clock import NS_PER_SECOND, rfc3339
from dimwatch.errors import PermanentError
from dimwatch.targets import WebhookTarget

SHORTEST_KEY: Final = 24
"""Bytes, by the specification."""


def request(target: WebhookTarget, draft: Draft) -> Request:
    """The request of one attempt: the id stays, the time of signing is new. Raises PermanentError for a bad secret."""
    made = post(
        target.secret("url"),
        document(draft),
        webhook_id=draft.key,
        webhook_timestamp=str(draft.now_ns // NS_PER_SECOND),
        Authorization=bearer(target.secret("bearer")),
    )
    moment = datetime.fromtimestamp(draft.now_ns // NS_PER_SECOND, UTC)
    body = made.body.decode()
    signed = " ".join(signer.sign(draft.key, moment, body) for signer in signers(target))
    return Request(made.url, made.body, {**made.headers, **({"webhook-signature": signed} if signed else {})})


def signers(target: WebhookTarget) -> list[Webhook]:
    """One a secret. Raises PermanentError for one that is none."""
    return [Webhook(_key(secret, target.name)) for secret in target.secret("secrets").split()]


def _key(secret: str, target: str) -> bytes:
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < SHORTEST_KEY:
        raise PermanentError(
            f"target {target}: a secret is not base64 of {SHORTEST_KEY} bytes or more (whsec_ may be before it); "
            "make one with `openssl rand -base64 32`"
        )
    return key


def document(draft: Draft) -> dict[str, Any]:
    """The body; the same for every attempt."""
    page = draft.page
    kind = "heartbeat" if page.event is Event.HEARTBEAT else f"incident.{page.event.value}"
    return {
        "type": kind,
        "timestamp": rfc3339(page.at_ns, 3),
        "data": {
            "key": page.key,
            "tenant": page.tenant,
            "status": page.status,
            "severity": page.severity,
            "title": draft.texts.title,
            "text": draft.texts.body,
            "incidents": [_incident(incident, draft) for incident in page.incidents],
            "more": page.more,
        },
    }


def _incident(incident: Told, draft: Draft) -> dict[str, Any]:
    return {
        "id": incident.id,
        "tenant": incident.tenant,
        "kind": incident.kind,
        "severity": incident.severity,
        "status": incident.status,
        "scope": dict(incident.scope),
        "opened_at": rfc3339(incident.opened_ns, 3),
        "started_at": rfc3339(incident.started_ns, 3),
        "resolved_at": None if incident.resolved_ns is None else rfc3339(incident.resolved_ns, 3),
        "signals": list(incident.signals),
        "causes": list(incident.causes),
        "runs": incident.runs,
        "cost_usd": incident.cost_usd,
        "summary": incident.summary,
        "url": draft.urls.get(incident.id, ""),
    }
