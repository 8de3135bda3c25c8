"""Who is asking: the accounts of the embedded store.

There are two roles. Readers may run what `guard` lets through; on loopback they need no account. Writers may
do anything: Dimwatch itself, by a random token in a file that only its user can read, and the account of
`settings.store` if it has a password.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from dimwatch import tokens
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings
from dimwatch.store.engine import EngineError

INTERNAL_USER: Final = "dimwatch_internal"
_AUTHENTICATION_FAILED: Final = 516
_REQUIRED_PASSWORD: Final = 194


class Role(Enum):
    """What a request may do."""

    READER = "reader"
    WRITER = "writer"


def token_path(settings: Settings) -> Path:
    """The file with the token of Dimwatch's own writers."""
    return settings.data / "store-token"


def ensure_token(settings: Settings) -> str:
    """Read the token, or make it."""
    return tokens.ensure(token_path(settings))


def is_loopback(host: str) -> bool:
    """Whether an address or host name can only mean this machine."""
    host = host.strip("[]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Decides the role of a request."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._token = token
        self._user = settings.store.user
        self._password = settings.store.password.get_secret_value()
        self._anonymous = is_loopback(settings.store.host)
        if not self._anonymous and not self._password:
            raise PermanentError(
                f"the store would listen on {settings.store.host} without a password:"
                " set DIMWATCH_STORE__PASSWORD, or listen on 127.0.0.1"
            )

    def role(self, headers: Mapping[str, str], params: Mapping[str, str]) -> Role:
        """The role of a request. Raises EngineError 516 or 194 for wrong or missing credentials."""
        user, password = _credentials(headers, params)
        if user in ("", "default") and not password:
            if not self._anonymous:
                raise EngineError.refusal(_REQUIRED_PASSWORD, "REQUIRED_PASSWORD", "An account is needed")
            host = headers.get("host", "localhost")
            # A page in a browser may reach loopback under a name of its own (DNS rebinding).
            if not is_loopback(host.rsplit(":", 1)[0] if not host.endswith("]") else host):
                raise EngineError.refusal(
                    _REQUIRED_PASSWORD, "REQUIRED_PASSWORD", f"An account is needed under the name {host}"
                )
            return Role.READER
        if user == INTERNAL_USER and _same(password, self._token):
            return Role.WRITER
        if self._password and user == self._user and _same(password, self._password):
            return Role.WRITER
        raise EngineError.refusal(
            _AUTHENTICATION_FAILED,
            "AUTHENTICATION_FAILED",
            f"{user}: Authentication failed: password is incorrect, or there is no user with such name.",
        )


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _credentials(headers: Mapping[str, str], params: Mapping[str, str]) -> tuple[str, str]:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", "")
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "?", "?"
        return user, password
    if scheme:
        return "?", "?"
    return params.get("user", ""), params.get("password", "")
