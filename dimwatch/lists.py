"""Settings that are lists: from TOML as they are, from a flag or the environment as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import orjson


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Sequence[_Named])


def documents(value: Any) -> Any:
    """A JSON list. Raises ValueError for other text, without showing it: it may hold secrets."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value or "[]")
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not a JSON list: {error}") from None


def words(value: Any) -> Any:
    """A JSON list, or words with commas between."""
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return documents(value)
    return [word.strip() for word in value.split(",") if word.strip()]


def told_apart(named: T) -> T:
    """Raises ValueError where two have the same name."""
    names = [one.name for one in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two are called {twice[0]!r}: names tell them apart")
    return named
