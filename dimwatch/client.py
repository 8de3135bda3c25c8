"""The API as its users see it: what the dashboard and the commands ask and say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

from dimwatch import tokens
from dimwatch.errors import BackpressureError, InvalidError, PermanentError, RetryableError
from dimwatch.settings import Api, Settings

_PATIENCE_S: Final = 15.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not a bind
_REFUSED: Final = (401, 403)
_LATER: Final = (408, 429, 503)


class ApiClient:
    """Speaks to the API. Every method raises RetryableError while it does not answer, PermanentError where the token
    is refused, and InvalidError, with the reason, for what it does not take. Safe to share between threads."""

    def __init__(self, url: str, token: str, user: str = "") -> None:
        """`user`: on behalf of whom, which only the service token may say."""
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} | ({"Dimwatch-User": user} if user else {})
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_PATIENCE_S, trust_env=False)

    @classmethod
    def of(cls, settings: Settings, user: str) -> Self:
        """As Dimwatch's own process on behalf of `user`. Raises PermanentError where there is no token for that."""
        token = settings.api.service_token.get_secret_value() if settings.api.service_token else ""
        path = tokens.api_token_path(settings)
        try:
            token = token or path.read_text().strip()
        except OSError as error:
            raise PermanentError(
                f"no token for the API: {path} can not be read ({error.strerror}). Name the data folder of the "
                "Dimwatch that runs, or set DIMWATCH_API__URL and DIMWATCH_API__RESPONDER_TOKEN"
            ) from error
        return cls(api_url(settings.api), token, user)

    def get(self, path: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read something below `/api/v1`."""
        return self._ask("GET", path, params=values)

    def order(
        self, path: str, body: Mapping[str, Any] | None = None, *, key: str = "", method: str = "POST"
    ) -> dict[str, Any]:
        """Give an order; `key` makes one of all that are sent with it. Returns the order, mostly still pending."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._ask(method, path, json=body, headers=headers)

    def outcome(self, order: str) -> str:
        """What became of an order: `pending` while nobody has looked at it."""
        answer = self._send("GET", f"orders/{order}")
        return "pending" if answer.status_code == 404 else str(self._read(answer)["outcome"])

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return self._read(self._send(method, path, **more))

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._http.request(method, f"/api/v1/{path}", **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryableError(
                f"the API at {self.url} does not answer: is `dimwatch up` or `dimwatch api` running? ({error})"
            ) from error

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise RetryableError(f"what answers at {self.url} is not the API of Dimwatch (status {answer.status_code})")
        if answer.is_success:
            return told
        wrong = "; ".join(f"{one['where']}: {one['what']}" for one in told.get("errors", []))
        reason = f"{told.get('detail', answer.reason_phrase)}{f' ({wrong})' if wrong else ''}"
        if answer.status_code in _REFUSED:
            raise PermanentError(reason)
        if answer.status_code in _LATER:
            raise BackpressureError(reason, float(answer.headers.get("Retry-After", 1.0)))
        if answer.is_server_error:
            raise RetryableError(reason)
        raise InvalidError(reason)


def api_url(api: Api) -> str:
    """Where the API is."""
    if api.url:
        return api.url.rstrip("/")
    host = _EVERYWHERE.get(api.host, api.host)
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"
