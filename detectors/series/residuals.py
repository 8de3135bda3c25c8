"""How far off the last minute was, node by node: what detectors beside the engine are fed with."""

from __future__ import annotations

import numpy as np

from detectors.series.arrays import FloatArray, IntArray
from detectors.series.bank import Bank
from detectors.series.hits import Hits
from detectors.series.level import Level


def busiest(hits: Hits, signal: int, most: int) -> IntArray:
    """The keys of the watched nodes of a signal with the most trials behind their baseline, shape (nodes, key width),
    those of most trials first. Nodes that a release or region cuts out are left out."""
    pools = hits.pools
    trials = pools.pairs_to_nodes((hits.leaf["n"] * hits.leaf["armed"])[pools.pair_leaf])
    nodes = np.flatnonzero(pools.watched & (pools.node_signal == signal) & ~pools.cut & (trials > 0))
    return pools.nodes.rows[nodes[np.lexsort([nodes, -trials[nodes]])]][:most]


def residuals(bank: Bank, keys: IntArray) -> FloatArray:
    """By how much the last minute of these nodes was more than expected, in standard deviations, shape (nodes,); NaN
    where nothing was measured, or nothing is known to compare with. Only for hits and levels."""
    assert isinstance(bank, (Hits, Level))
    off = np.full(len(keys), np.nan)
    nodes = bank.pools.nodes.find(keys)
    known = nodes >= 0
    if known.any():
        off[known] = bank.deviations()[nodes[known]]
    return off
