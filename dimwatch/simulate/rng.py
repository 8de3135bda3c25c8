"""Random streams that depend on nothing but their name, so that a seed gives the same fleet again."""

from __future__ import annotations

from random import Random


def stream(*name: object) -> Random:
    """The random stream of that name (the seed belongs into the name)."""
    return Random("/".join(map(str, name)))  # noqa: S311 - a simulation, not a secret
