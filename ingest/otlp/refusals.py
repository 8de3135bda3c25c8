"""Why a request is refused as a whole, beyond `dimwatch.errors`: each has its own status at both doors."""

from __future__ import annotations

from dimwatch.errors import InvalidError


class TooLargeError(InvalidError):
    """Over a limit of size: 413, RESOURCE_EXHAUSTED. Never retried as it is."""


class UnsupportedError(InvalidError):
    """A content type or encoding that is not understood: 415, UNIMPLEMENTED."""


class UnauthenticatedError(InvalidError):
    """The token is missing or wrong: 401, UNAUTHENTICATED."""
