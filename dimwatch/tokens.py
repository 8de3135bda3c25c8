"""Tokens that Dimwatch makes for itself: random, in a file that only its own user can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from dimwatch.errors import PermanentError
from dimwatch.settings import Settings

_LEAST: Final = 32


def ensure(path: Path) -> str:
    """Read the token of that file, or make it: 256 random bits, mode 0600. Raises PermanentError for another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = path.read_text().strip()
        if len(token) < _LEAST:
            raise PermanentError(f"{path} holds no token: remove the file and start again") from None
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def api_token_path(settings: Settings) -> Path:
    """The file with the token by which the dashboard and the commands of this machine use the API."""
    return settings.data / "api-token"
