"""Who asks: bearer tokens and what they allow."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from dimwatch import tokens
from dimwatch.app.api.problems import Refusal
from dimwatch.errors import PermanentError
from dimwatch.settings import Api, Settings
from dimwatch.store.access import is_loopback

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="dimwatch"'}


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    """Look."""
    RESPONDER = "responder"
    """Look, and give orders about incidents."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whose token was right."""

    name: str
    """What is written down as who did it."""
    role: Role


class Doorkeeper:
    """Knows the tokens. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Raises PermanentError where the API would be open to a network for everybody, one token would be that of two
        roles, or the token file is none."""
        api = settings.api
        check_exposure(api)
        given = api.service_token.get_secret_value() if api.service_token else ""
        self._service = given or tokens.ensure(tokens.api_token_path(settings))
        self._known = [
            (token.get_secret_value(), Identity(f"{role.value} token", role))
            for token, role in ((api.responder_token, Role.RESPONDER), (api.viewer_token, Role.VIEWER))
            if token is not None and token.get_secret_value()
        ]
        every = [self._service, *(known for known, _ in self._known)]
        if len(set(every)) < len(every):
            raise PermanentError(
                "two of api.service_token, api.responder_token and api.viewer_token are the same, so that whoever has "
                "the one may do what the other is for: give each its own"
            )

    def identify(self, token: str | None, on_behalf_of: str | None) -> Identity:
        """Who presents this token. Only Dimwatch's own processes may say on behalf of whom. Raises Refusal."""
        if not token:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "a bearer token is needed", _CHALLENGE)
        if _same(token, self._service):
            return Identity(on_behalf_of or "this machine", Role.RESPONDER)
        found = [identity for known, identity in self._known if _same(token, known)]
        if not found:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "the bearer token is not one that is known here", _CHALLENGE)
        if on_behalf_of:
            raise Refusal(HTTPStatus.FORBIDDEN, "only the service token may say on behalf of whom it asks")
        return found[0]


def check_exposure(api: Api) -> None:
    """Refuse to be open to a network without tokens of one's own. Raises PermanentError with the remedy."""
    if not is_loopback(api.host) and not (api.responder_token and api.responder_token.get_secret_value()):
        raise PermanentError(
            f"api.host {api.host!r} can be reached from other machines, so a token is needed: set api.responder_token "
            "(DIMWATCH_API__RESPONDER_TOKEN), or listen on 127.0.0.1"
        )


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(errors="replace"), expected.encode())
