"""What formats are made of, and what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from detectors.notify.page import Page
from detectors.notify.texts import Texts


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as one attempt has it."""

    key: str
    """The idempotency key."""
    page: Page
    texts: Texts
    now_ns: int
    """Of the attempt."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Where the dashboard shows an incident, by id; "" where that is not known."""

    @property
    def url(self) -> str:
        """Of the first incident."""
        return self.urls.get(self.page.incidents[0].id, "") if self.page.incidents else ""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP POST."""

    url: str
    body: bytes
    headers: Mapping[str, str]


def post(url: str, document: Any, **headers: str) -> Request:
    """A POST of JSON; `_` in the names of headers stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items() if value}
    return Request(
        url,
        orjson.dumps(document),
        {"content-type": "application/json", "user-agent": "Dimwatch", "accept-encoding": "identity", **named},
    )


def bearer(token: str) -> str:
    """The value of an Authorization header, "" without a token."""
    return f"Bearer {token}" if token else ""


def cut(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
