"""Which routes can be declared; without the libraries that it takes to follow them."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.incidents.incident import Kind
from dimwatch.errors import InvalidError
from dimwatch.targets import Route


def check(routes: Sequence[Route]) -> None:
    """Raise InvalidError, with the remedy, for a route that names a kind that there is not."""
    kinds = [kind.value for kind in Kind]
    for route in routes:
        for kind in route.kinds:
            if kind not in kinds:
                raise InvalidError(f"route {route.name!r}: {kind!r} is no kind of incident; kinds: {', '.join(kinds)}")
