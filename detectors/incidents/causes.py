"""The cause search: which part of the fleet explains the evidence best.

Every part of one or two dimensions is scored by the log-likelihood ratio that its cells, taken together, have for "it
is worse here" against "as ever", less the logarithm of how many parts of its shape there are (what a search among that
many finds by chance). The best one is the cause; without its cells the search goes on. The score for counts is the
Poisson scan statistic of Kulldorff ("A spatial scan statistic", 1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from detectors.alerts import Node
from detectors.windows.signals import Form, Signal, Worse

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "tenant": ("tenant",),
    "provider": ("provider",),
    "model": ("provider", "model"),
    "tool": ("tenant", "tool"),
    "agent": ("tenant", "agent"),
    "release": ("tenant", "agent", "release"),
    "region": ("region",),
}
"""The shapes of a part, and which values name one: a model is a model of a provider, an agent is one of a tenant."""

_NESTED: Final = {("tenant", "tool"), ("tenant", "agent"), ("provider", "model"), ("agent", "release")}
_SHAPES: Final = (
    (),
    *((name,) for name in PARTS),
    *(pair for pair in combinations(PARTS, 2) if pair not in _NESTED and pair[::-1] not in _NESTED),
)
_IMPLIED: Final = ("tenant", "agent", "provider", "model", "tool")
"""Filled in where the cells of a part have one value only. A release or a region is named only when it is the cause."""

_LEAST_EXPECTED: Final = 1e-6
_ALIKE: Final = 3.0
"""Nats."""
_MOST_ALIKE: Final = 0.75
"""By what is expected in the cells."""
_MOST_MASKS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Layer:
    """One signal per cell: see `detectors.evidence.Evidence`."""

    signal: Signal
    nodes: tuple[Node, ...]
    observed: FloatArray
    expected: FloatArray
    n: FloatArray

    def gain(self, observed: FloatArray, expected: FloatArray) -> FloatArray:
        """Log-likelihood ratio, in nats, of pooled cells; 0 where they are not worse than expected."""
        expected = np.maximum(expected, _LEAST_EXPECTED)
        match self.signal.form:
            case Form.HITS | Form.AMOUNT:
                gain = xlogy(observed, observed / expected) - (observed - expected)
                return np.where(observed > expected, gain, 0.0)
            case Form.EVENTS:
                gain = xlogy(observed, observed / expected) - (observed - expected)
                return np.where(observed < expected, gain, 0.0)
            case Form.LEVEL:
                gain = observed**2 / (2 * expected)
                return gain if self.signal.worse is Worse.BOTH else np.where(observed > 0, gain, 0.0)

    def excess(self, observed: FloatArray, expected: FloatArray) -> FloatArray:
        """By how much it is worse than expected: events, or standardised units; negative where it is better."""
        match self.signal.form:
            case Form.HITS | Form.AMOUNT:
                return observed - expected
            case Form.EVENTS:
                return expected - observed
            case Form.LEVEL:
                return observed


@dataclass(frozen=True, slots=True)
class Pooled:
    """One signal of one part of the fleet."""

    observed: float
    expected: float
    n: float
    gain: float
    excess: float


@dataclass(frozen=True, slots=True)
class Found:
    """A part of the fleet that explains the evidence."""

    node: Node
    """With what its cells imply filled in: a tool that only one agent has names the agent too."""
    mask: Mask
    gain: float
    """Nats, all signals together, less the cost of the search."""
    margin: float
    """By how much it beats the best other part."""


class Parts:
    """The parts of the fleet that some cells can be put together to."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.values = [dict(node.of) for node in nodes]
        self.dimensions = frozenset(name for values in self.values for name in values)
        self._masks: dict[Node, Mask] = {}
        self._codes: dict[tuple[str, ...], tuple[NDArray[np.intp], int]] = {}

    def mask(self, node: Node) -> Mask:
        """The cells within a node."""
        found = self._masks.get(node)
        if found is None:
            if len(self._masks) > _MOST_MASKS:
                self._masks.clear()
            matches = (all(values.get(name) == value for name, value in node.of) for values in self.values)
            found = self._masks[node] = np.fromiter(matches, np.bool_, len(self.nodes))
        return found

    def code(self, shape: tuple[str, ...]) -> tuple[NDArray[np.intp], int]:
        """The number of each cell's part of a shape, in the order of the parts' names, -1 where it has none; and how
        many parts there are."""
        found = self._codes.get(shape)
        if found is None:
            keys = [self._key(shape, values) for values in self.values]
            numbers = {key: number for number, key in enumerate(sorted({key for key in keys if key is not None}))}
            codes = np.fromiter((-1 if key is None else numbers[key] for key in keys), np.intp, len(keys))
            found = self._codes[shape] = codes, len(numbers)
        return found

    @cached_property
    def shapes(self) -> list[tuple[str, ...]]:
        """The shapes that cut the cells up in different ways; of equal ones the plainest."""
        found: dict[bytes, tuple[str, ...]] = {}
        for shape in _SHAPES:
            codes, count = self.code(shape)
            if count:
                _, first, within = np.unique(codes, return_index=True, return_inverse=True)
                found.setdefault(np.where(codes < 0, -1, first[within]).tobytes(), shape)
        return list(found.values())

    @staticmethod
    def _key(shape: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...] | None:
        if any(not values.get(part) for part in shape):
            return None
        return tuple(values.get(name, "") for part in shape for name in PARTS[part])


@lru_cache(maxsize=64)
def parts_of(nodes: tuple[Node, ...]) -> Parts:
    """The cells hardly ever change from minute to minute, so their parts are kept."""
    return Parts(nodes)


class Cells:
    """Signals of one subject, laid over each other cell by cell."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.parts = parts_of(tuple(sorted({node for layer in layers for node in layer.nodes})))
        self.nodes = self.parts.nodes
        place = {node: number for number, node in enumerate(self.nodes)}
        shape = (len(self.layers), len(self.nodes))
        self.observed, self.expected, self.n = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for row, layer in enumerate(self.layers):
            at = np.fromiter((place[node] for node in layer.nodes), np.intp, len(layer.nodes))
            np.add.at(self.observed[row], at, layer.observed)
            np.add.at(self.expected[row], at, layer.expected)
            np.add.at(self.n[row], at, layer.n)

    def mask(self, node: Node) -> Mask:
        """The cells within a node."""
        return self.parts.mask(node)

    def agents_mask(self, agents: frozenset[tuple[str, str]]) -> Mask:
        """The cells of some agents, given as (tenant, agent)."""
        return np.fromiter(
            ((values.get("tenant", ""), values.get("agent", "")) in agents for values in self.parts.values),
            np.bool_,
            len(self.nodes),
        )

    def of(self, scope: Node, agents: frozenset[tuple[str, str]]) -> Mask:
        """The cells of a scope; where they lack its dimensions (runs have no model), those of its agents."""
        known = all(name in self.parts.dimensions for name, _ in scope.of)
        return self.mask(scope) if known else self.agents_mask(agents)

    def agents(self, mask: Mask) -> frozenset[tuple[str, str]]:
        """Agents, as (tenant, agent), that have data in some cells."""
        busy = mask & ((self.n > 0) | (self.expected > 0)).any(axis=0)
        return frozenset(
            (self.parts.values[cell].get("tenant", ""), self.parts.values[cell].get("agent", ""))
            for cell in np.flatnonzero(busy)
        )

    def pooled(self, mask: Mask, row: int = 0) -> Pooled:
        """One signal over some cells."""
        observed = np.array([self.observed[row, mask].sum()])
        expected = np.array([self.expected[row, mask].sum()])
        layer = self.layers[row]
        return Pooled(
            float(observed[0]),
            float(expected[0]),
            float(self.n[row, mask].sum()),
            float(layer.gain(observed, expected)[0]),
            float(layer.excess(observed, expected)[0]),
        )

    def gain(self, mask: Mask) -> float:
        """Nats of all signals over some cells."""
        return sum(self.pooled(mask, row).gain for row in range(len(self.layers)))

    def share(self, inside: Mask, of: Mask, row: int = 0) -> float:
        """How much of what is too much in `of` lies `inside`: 0 to 1."""
        layer = self.layers[row]
        excess = np.maximum(layer.excess(self.observed[row], self.expected[row]), 0.0)
        if layer.signal.worse is Worse.BOTH:
            excess = np.abs(layer.excess(self.observed[row], self.expected[row]))
        whole = float(excess[of].sum())
        if whole <= 0:
            return float((inside & of).any())
        return float(excess[inside & of].sum()) / whole

    def search(self, *, left: Mask | None = None, least: float = 0.0, most: int = 5) -> list[Found]:
        """The parts that explain the evidence, best first; each without the cells of those before it.

        `left`: only these cells take part. `least`: nats that a part must reach. `most`: parts to look for.
        """
        left = np.ones(len(self.nodes), np.bool_) if left is None else left.copy()
        found: list[Found] = []
        while len(found) < most and left.any():
            best = self._best(left)
            if best is None or best.gain <= least:
                break
            found.append(best)
            left &= ~best.mask
        return found

    def _best(self, left: Mask) -> Found | None:
        scores: list[float] = []
        places: list[tuple[tuple[str, ...], int]] = []
        for shape in self.parts.shapes:
            codes, count = self.parts.code(shape)
            use = left & (codes >= 0)
            within = codes[use]
            present = np.flatnonzero(np.bincount(within, minlength=count))
            gains: FloatArray = np.zeros(len(present))
            for row, layer in enumerate(self.layers):
                observed = _sums(within, self.observed[row, use], count)[present]
                gains += layer.gain(observed, _sums(within, self.expected[row, use], count)[present])
            if len(present):
                scores.extend((gains - math.log(len(present))).tolist())
                places.extend((shape, code) for code in present.tolist())
        # Of equal ones the first stays: shapes come from the plainest on, values in their order.
        order = np.argsort(-np.round(np.asarray(scores), 9), kind="stable")
        for rank, number in enumerate(order):
            if scores[number] <= 0:
                return None
            shape, code = places[number]
            mask = left & (self.parts.code(shape)[0] == code)
            if not self._carried(shape, mask):
                continue
            margin = self._margin(order[rank + 1 :], number, scores, places, left, mask)
            shape, mask = self._widened(shape, mask, left)
            return Found(self._name(shape, mask), mask, scores[number], margin)
        return None

    def _widened(self, shape: tuple[str, ...], mask: Mask, left: Mask) -> tuple[tuple[str, ...], Mask]:
        """The widest part around the best one whose other cells are worse too, if not as much.

        A pooled score is for one strength all over. Where a fault slows one model of a provider more than the other,
        the one alone scores higher than both, though the other is as good as proven to be slow.
        """
        wider = []
        for other in self.parts.shapes:
            if len(other) > 1:
                continue
            codes, _ = self.parts.code(other)
            code = codes[mask][0]
            around = left & (codes == code)
            if code >= 0 and (codes[mask] == code).all() and around.sum() > mask.sum():
                wider.append((int(around.sum()), other, around))
        for _, other, around in sorted(wider, key=lambda part: part[:2]):
            if mask.sum() < around.sum() and self._alike(mask, around & ~mask) and self._carried(other, around):
                shape, mask = other, around
        return shape, mask

    def _alike(self, mask: Mask, rest: Mask) -> bool:
        """Whether the rest looks rather like half as bad as some cells than like as ever: all in all, and in most."""
        llr, weight = np.zeros(int(rest.sum())), np.zeros(int(rest.sum()))
        for row, layer in enumerate(self.layers):
            observed, expected = float(self.observed[row, mask].sum()), float(self.expected[row, mask].sum())
            half = observed / 2 if layer.signal.form is Form.LEVEL else math.sqrt(observed * expected)
            llr += ratio(layer.signal.form, self.observed[row, rest], self.expected[row, rest], half, expected)
            weight += self.expected[row, rest] / max(float(self.expected[row].sum()), _LEAST_EXPECTED)
        return float(llr.sum()) >= _ALIKE and float(weight[llr > 0].sum()) >= _MOST_ALIKE * float(weight.sum())

    def _margin(
        self,
        rest: NDArray[np.intp],
        number: int,
        scores: Sequence[float],
        places: Sequence[tuple[tuple[str, ...], int]],
        left: Mask,
        mask: Mask,
    ) -> float:
        """By how much it beats the next one that is made of other cells."""
        for other in rest:
            shape, code = places[other]
            if not np.array_equal(left & (self.parts.code(shape)[0] == code), mask):
                return float(scores[number] - max(scores[int(other)], 0.0))
        return scores[number]

    def _carried(self, shape: tuple[str, ...], mask: Mask) -> bool:
        """Quorum: what is claimed of several agents must show in two of them, or in all that there are."""
        if "agent" in shape or "release" in shape:
            return True
        codes, count = self.parts.code(("agent",))
        use = mask & (codes >= 0)
        if not use.any():
            return True
        within = codes[use]
        for_it, known = np.zeros(count), np.zeros(count)
        for row, layer in enumerate(self.layers):
            observed = _sums(within, self.observed[row, use], count)
            expected = _sums(within, self.expected[row, use], count)
            for_it += ratio(layer.signal.form, observed, expected, observed.sum(), expected.sum())
            known += _sums(within, self.n[row, use], count) + expected
        affected = int(((for_it > 0) & (known > 0)).sum())
        return affected >= 2 or affected == int((known > 0).sum())

    def _name(self, shape: tuple[str, ...], mask: Mask) -> Node:
        cells = [self.parts.values[cell] for cell in np.flatnonzero(mask)]
        named = {name: cells[0].get(name, "") for part in shape for name in PARTS[part]}
        for name in _IMPLIED:
            values = {cell.get(name, "") for cell in cells}
            if len(values) == 1:
                named[name] = values.pop()
        return Node.make(**named)


def _sums(within: NDArray[np.intp], values: FloatArray, count: int) -> FloatArray:
    return np.bincount(within, values, count).astype(np.float64)


def ratio(
    form: Form, observed: FloatArray, expected: FloatArray, fault_observed: float, fault_expected: float
) -> FloatArray:
    """Log-likelihood ratio of "as bad as the fault" against "as expected", in nats.

    The fault's strength is what `fault_observed` against `fault_expected` says.
    """
    fault_expected = max(float(fault_expected), _LEAST_EXPECTED)
    if form is Form.LEVEL:
        strength = float(fault_observed) / fault_expected
        return strength * observed - strength**2 * expected / 2
    # A factor of exactly 0 (nothing at all comes any more) would let one late event refute it for good.
    factor = max(float(fault_observed) / fault_expected, 0.05)
    return observed * math.log(factor) - expected * (factor - 1)
