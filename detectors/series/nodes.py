"""Which cells add up to which watched nodes: leaves, and pools of leaves' evidence (never of their raw rates)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from detectors.alerts import DIMENSIONS
from detectors.series.arrays import FloatArray, IntArray, Mask
from detectors.series.keys import Ids
from detectors.windows.signals import Subject

LEAF: Final = {
    Subject.MODEL: ("tenant", "agent", "provider", "model"),
    Subject.TOOL: ("tenant", "agent", "tool"),
    Subject.RUN: ("tenant", "agent"),
}
"""The dimensions that a baseline is kept for."""

CELL: Final = ("release", "region")
"""What cuts a leaf further, sharing its baseline."""

POOLS: Final = {
    Subject.MODEL: (
        ("provider",),
        ("model",),
        ("provider", "model"),
        ("tenant", "agent"),
        ("tenant", "agent", "release"),
        ("region",),
        (),
    ),
    Subject.TOOL: (("tenant", "tool"), ("tenant", "agent"), ("tenant", "agent", "release"), ("region",), ()),
    Subject.RUN: (("tenant", "agent", "release"), ("region",), ()),
}
"""What leaves are watched together by. A provider or model is the same for all tenants, an agent or tool is not."""

_SIGNAL: Final = len(DIMENSIONS)
"""The column of keys after the dimensions: the number of the signal."""


def _columns(names: Iterable[str]) -> IntArray:
    return np.array([DIMENSIONS.index(name) for name in names], dtype=np.int64)


class Pools:
    """Cells, leaves and nodes of one bank of series, and the sums from the ones to the others.

    A cell is (all dimensions, signal), a leaf the same without release and region, a node what pools leave of it.
    A node whose cells are those of another, more exact one is not watched: it would be the same stream twice.
    """

    def __init__(self, subjects: dict[int, Subject], *, cut: bool = True) -> None:
        """`subjects` of the numbers of the signals; with `cut` false, release and region are not looked at."""
        self._subjects = subjects
        self._cut = cut
        self._kept: IntArray = np.zeros((max(subjects, default=0) + 1, len(DIMENSIONS) + 1), dtype=np.int64)
        for number, subject in subjects.items():
            self._kept[number, _columns(LEAF[subject] + (CELL if cut else ()))] = 1
            self._kept[number, _SIGNAL] = 1
        width = len(DIMENSIONS) + 1
        self.cells, self.leaves, self.nodes = Ids(width), Ids(width), Ids(width)
        self.cell_leaf: IntArray = np.empty(0, dtype=np.int64)
        self._build()

    def known(self, keys: IntArray) -> IntArray:
        """The ids of cells, -1 for unknown ones."""
        return self.cells.find(keys)

    def add(self, keys: IntArray) -> None:
        """Learn cells; new leaves and nodes follow from them."""
        before = len(self.cells)
        self.cells.add(keys)
        if len(self.cells) > before:
            self._build()

    def trim(self, keys: IntArray) -> IntArray:
        """Keys with the dimensions that their subject does not have set to empty."""
        trimmed: IntArray = keys * self._kept[keys[:, _SIGNAL]]
        return trimmed

    def take(self, cells: IntArray) -> tuple[IntArray, IntArray]:
        """Keep these cells only (ascending), and the leaves and nodes that have any; returns the latter two's old ids,
        ascending: all are numbered anew in their old order."""
        leaves = np.unique(self.cell_leaf[cells])
        nodes = np.unique(self.pair_node[self._links[0][np.isin(self._links[1], cells)]])
        rows = {"cells": self.cells.rows[cells], "leaves": self.leaves.rows[leaves], "nodes": self.nodes.rows[nodes]}
        self.load(rows)
        return leaves, nodes

    def state(self) -> dict[str, Any]:
        """The keys in the order of their ids; everything else follows from them."""
        return {"cells": self.cells.rows, "leaves": self.leaves.rows, "nodes": self.nodes.rows}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.cells.load(state["cells"])
        self.leaves.load(state["leaves"])
        self.nodes.load(state["nodes"])
        self._build()

    def _by_subject(self, keys: IntArray) -> list[tuple[Subject, IntArray]]:
        number = keys[:, _SIGNAL]
        groups = []
        for subject in Subject:
            own = [signal for signal, of in self._subjects.items() if of is subject]
            rows = np.flatnonzero(np.isin(number, own))
            if len(rows):
                groups.append((subject, rows))
        return groups

    def _build(self) -> None:
        keys = self.cells.rows
        leaf_keys = keys.copy()
        leaf_keys[:, _columns(CELL)] = 0
        self.cell_leaf = self.leaves.add(leaf_keys)
        links_cell, node_keys = [np.arange(len(keys))], [leaf_keys]
        for subject, rows in self._by_subject(keys):
            for pool in POOLS[subject]:
                columns = _columns(pool)
                named = _columns(name for name in pool if name != "tenant")
                if not self._cut and set(pool) & set(CELL):
                    continue
                chosen = rows[(keys[np.ix_(rows, named)] > 0).all(axis=1)]
                pooled = np.zeros((len(chosen), keys.shape[1]), dtype=np.int64)
                pooled[:, _SIGNAL] = keys[chosen, _SIGNAL]
                pooled[:, columns] = keys[np.ix_(chosen, columns)]
                links_cell.append(chosen)
                node_keys.append(pooled)
        cell = np.concatenate(links_cell)
        node = self.nodes.add(np.concatenate(node_keys))
        pairs, pair_of = np.unique(node * max(len(self.leaves), 1) + self.cell_leaf[cell], return_inverse=True)
        # A cell may reach a node twice (a leaf may be its own pool): once is enough.
        links = np.unique(np.stack([pair_of.reshape(-1), cell]), axis=1)
        self.pair_node: IntArray = pairs // max(len(self.leaves), 1)
        self.pair_leaf: IntArray = pairs % max(len(self.leaves), 1)
        self._links = links
        self._to_pairs = _sums(links[0], links[1], len(pairs), len(keys))
        self._pairs_to_nodes = _sums(self.pair_node, np.arange(len(pairs)), len(self.nodes), len(pairs))
        self._to_nodes = _sums(self.pair_node[links[0]], links[1], len(self.nodes), len(keys))
        self._of_cells = self._to_nodes.tocsc()
        self.node_signal: IntArray = self.nodes.rows[:, _SIGNAL]
        self.leaf_signal: IntArray = self.leaves.rows[:, _SIGNAL]
        self.cell_signal: IntArray = keys[:, _SIGNAL]
        self.node_pools = np.bincount(self.pair_node, minlength=len(self.nodes)) > 1
        self.leaf_node = self.nodes.find(self.leaves.rows)
        self.cut: Mask = np.asarray((self.nodes.rows[:, _columns(CELL)] > 0).any(axis=1))
        """Which nodes are of one release or region."""
        self.watched = self._distinct(links)

    def _distinct(self, links: IntArray) -> Mask:
        count = len(self.nodes)
        salt = _mix(np.arange(len(self.cells), dtype=np.uint64))
        mark = np.zeros(count, dtype=np.uint64)
        np.add.at(mark, self.pair_node[links[0]], salt[links[1]])
        named = (self.nodes.rows[:, :_SIGNAL] > 0).sum(axis=1)
        # A release that is the only one says nothing.
        named = named - len(DIMENSIONS) * (self.nodes.rows[:, _columns(CELL)] > 0).any(axis=1)
        order = np.lexsort([np.arange(count), -named, mark])
        first = np.ones(count, dtype=bool)
        first[1:] = mark[order][1:] != mark[order][:-1]
        watched = np.zeros(count, dtype=bool)
        watched[order[first]] = True
        return watched

    def to_nodes(self, by_cell: FloatArray, cells: IntArray | None = None) -> FloatArray:
        """Sums over the cells of each node, of one value by cell or of several; or of these cells only."""
        return np.asarray((self._to_nodes if cells is None else self._of_cells[:, cells]) @ by_cell)

    def to_pairs(self, by_cell: FloatArray) -> FloatArray:
        """Sums over the cells of each pair of node and leaf."""
        return np.asarray(self._to_pairs @ by_cell)

    def pairs_to_nodes(self, by_pair: FloatArray) -> FloatArray:
        """Sums over the pairs of each node."""
        return np.asarray(self._pairs_to_nodes @ by_pair)

    def cells_of(self, node: int) -> IntArray:
        """The cells of a node."""
        return np.unique(self._links[1][self.pair_node[self._links[0]] == node])

    def leaves_within(self, mask: Mask) -> IntArray:
        """The leaves of the nodes in the mask."""
        return np.unique(self.pair_leaf[mask[self.pair_node]])


def _sums(row: IntArray, column: IntArray, rows: int, columns: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(row)), (row, column)), shape=(rows, columns))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A fixed scrambling of whole numbers (splitmix64), so that sums of them tell sets apart."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
