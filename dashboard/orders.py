"""Orders about incidents from the pages: through the API, in the name of the person who gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.sign_in import Person
from dashboard.source import source
from dimwatch.client import ApiClient, api_url
from dimwatch.errors import PermanentError


def give(person: Person, path: str, body: Mapping[str, Any] | None, key: str, method: str = "POST") -> str:
    """Give an order, below the API's `/api/v1`, and return its id. The same key is the same order. Raises DimwatchError
    with the reason."""
    if not person.acts:  # the API can not tell: it is asked with the dashboard's own token
        raise PermanentError("only responders may give orders")
    with_api = _api(person)
    try:
        return str(with_api.order(path, body, key=key, method=method)["id"])
    finally:
        with_api.close()


def outcome(person: Person, order: str) -> str:
    """What became of an order, `pending` until somebody has looked at it. Raises DimwatchError with the reason."""
    with_api = _api(person)
    try:
        return with_api.outcome(order)
    finally:
        with_api.close()


def _api(person: Person) -> ApiClient:
    settings = source().settings
    if person.token:
        return ApiClient(api_url(settings.api), person.token)
    return ApiClient.of(settings, person.name)
