"""One message by Apprise, in a process of its own, `dimwatch.app.sending.apprise_process`.

Its plug-ins connect by themselves, follow redirects and may start programs: so they get a process that the kernel ends
on time, that knows one secret, and that may call only what `dimwatch.app.sending.guard` allows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import orjson

from detectors.notify.formats.base import Draft
from detectors.notify.outbox import Outcome, Result
from detectors.notify.page import Event

_START_UP_S: Final = 20.0
"""Importing Apprise and its plug-ins takes a while on a busy machine."""
MOST_SAID: Final = 500


def send(urls: list[str], draft: Draft, allow_private: list[str], timeout_s: float) -> Result:
    """Send a message to all of `urls`."""
    order = {
        "urls": urls,
        "title": draft.texts.title,
        "body": draft.texts.body,
        "type": _type(draft),
        "allow_private": allow_private,
        "timeout_s": timeout_s,
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DIMWATCH_", "PROMETHEUS_"))}
    command = [sys.executable, "-P", "-m", "dimwatch.app.sending.apprise_process"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, and what it is told comes by its input
            command,
            input=orjson.dumps(order),
            capture_output=True,
            timeout=timeout_s + _START_UP_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result.said(f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Result.said(f"can not start Apprise: {error.strerror}")
    lines = done.stdout.splitlines()
    try:
        told = orjson.loads(lines[-1]) if lines else {}
    except orjson.JSONDecodeError:
        told = {}
    if told.get("sent"):
        return Result(Outcome.DELIVERED)
    return Result.said(str(told.get("error") or f"Apprise ended with status {done.returncode}")[:MOST_SAID])


def _type(draft: Draft) -> str:
    if draft.page.event in (Event.RESOLVE, Event.HEARTBEAT):
        return "success"
    if not draft.page.event.wakes:
        return "info"
    return "failure" if draft.page.severity == "critical" else "warning"
