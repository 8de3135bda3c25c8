"""From a page to an attempt, whatever the kind of target."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from detectors.notify.formats import alertmanager, mail, opsgenie, pagerduty, slack, webhook
from detectors.notify.formats.base import Draft, Request
from detectors.notify.outbox import Outcome, Result
from detectors.notify.page import Page
from detectors.notify.texts import Templates
from dimwatch.app.sending import by_apprise, http, smtp
from dimwatch.app.sending.guard import policy_of, tls
from dimwatch.errors import PermanentError
from dimwatch.targets import (
    AlertmanagerTarget,
    AppriseTarget,
    EmailTarget,
    Notify,
    OpsgenieTarget,
    PagerDutyTarget,
    SlackTarget,
    Target,
    WebhookTarget,
)

_MOST_SAID: Final = 500
_SHORTEST_SECRET: Final = 4
MASK: Final = "********"


class Sender:
    """Sends pages. Safe to share between threads."""

    def __init__(self, notify: Notify) -> None:
        """Raises PermanentError, with the remedy, for settings that can not work."""
        self._notify = notify
        self._targets = {target.name: target for target in notify.targets}
        self._policy = policy_of(notify.allow_private)
        self._context = tls()
        self._templates = Templates(notify.templates, notify.dashboard_url)
        for target in notify.targets:
            target.all_secrets()
            if isinstance(target, WebhookTarget):
                webhook.signers(target)

    def send(self, name: str, key: str, page: Page, now_ns: int) -> Result:
        """Make one attempt. It never raises for what a target does."""
        target = self._targets[name]
        began = time.monotonic_ns()
        try:
            result = self._send(target, self._draft(key, page, now_ns))
        except PermanentError as error:  # a file of a secret that is gone
            result = Result.said(str(error))
        shown = "" if result.outcome is Outcome.DELIVERED and not result.error else _masked(result.error, target)
        return replace(result, error=shown[:_MOST_SAID], duration_ns=time.monotonic_ns() - began)

    def _draft(self, key: str, page: Page, now_ns: int) -> Draft:
        urls = {incident.id: self._templates.incident_url(incident) for incident in page.incidents}
        return Draft(key, page, self._templates.texts(page), now_ns, urls)

    def _send(self, target: Target, draft: Draft) -> Result:
        timeout_s = self._notify.timeout_s
        if isinstance(target, EmailTarget):
            return smtp.send(target, mail.message(target, draft), self._policy, timeout_s)
        if isinstance(target, AppriseTarget):
            return by_apprise.send(target.secret("url").split(), draft, self._notify.allow_private, timeout_s)
        return http.post(self._request(target, draft), self._policy, self._context, timeout_s, draft.now_ns)

    def _request(self, target: Target, draft: Draft) -> Request:
        match target:
            case WebhookTarget():
                return webhook.request(target, draft)
            case SlackTarget():
                return slack.request(target, draft)
            case PagerDutyTarget():
                return pagerduty.request(target, draft)
            case OpsgenieTarget():
                return opsgenie.request(target, draft)
            case AlertmanagerTarget():
                return alertmanager.request(target, draft, self._notify.heartbeat_m)
        raise AssertionError(f"{target.type} is not sent over HTTP")


def _masked(text: str, target: Target) -> str:
    """Without secrets, nor the parts of them that libraries and servers repeat."""
    try:
        secrets = target.all_secrets()
    except PermanentError:
        return text  # nothing was sent, for want of them
    parts = set(secrets)
    for secret in secrets:
        parts.add(secret.removeprefix("whsec_"))
        if "://" in secret:
            split = urlsplit(secret)
            parts |= {
                split.path,
                split.query,
                split.username or "",
                split.password or "",
                split.netloc.rpartition("@")[0],
            }
            parts |= set(split.path.split("/"))
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            text = text.replace(part, MASK)
    return text
