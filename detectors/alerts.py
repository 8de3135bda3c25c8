"""What the engine says of a minute: which watched nodes are off, since when, by how much, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DIMENSIONS: Final = ("tenant", "agent", "provider", "model", "tool", "release", "region")


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A part of the fleet: pairs of dimension and value, in the order of DIMENSIONS. `()` is the whole fleet."""

    of: tuple[tuple[str, str], ...] = ()

    @classmethod
    def make(cls, **values: str) -> Node:
        """The node of some values, e.g. `Node.make(provider="openai")`. Empty values are left out."""
        return cls(tuple((name, values[name]) for name in DIMENSIONS if values.get(name)))

    def value(self, dimension: str) -> str:
        """Its value of a dimension, or "" where it takes in all of them."""
        return dict(self.of).get(dimension, "")

    def within(self, other: Node) -> bool:
        """Whether `other` takes in all of this node."""
        return set(other.of) <= set(self.of)


@dataclass(frozen=True, slots=True)
class Alert:
    """One signal of one node is off, as of the last closed minute."""

    node: Node
    signal: str
    evidence: float
    """Natural logarithm of the e-value: how much better "it got worse" explains the data than "it is as ever"."""
    threshold: float
    """The evidence that the promise about false pages asks for."""
    since_ns: int
    """Estimated onset."""
    observed: float
    """Since then: the rate of hits, the geometric mean, the events or the amount a minute."""
    expected: float
    """The same by the baseline."""
    n: float
    """Trials, measurements or events since then."""
    worse: bool = True
    """False for a signal that watches both directions and went down (fewer tokens, fewer steps)."""
