"""Whose runs an incident has to do with: the users of each agent within the last hour.

The blast radius is told in users of one hour, the worst so far, not of all hours together: that is what can be held
against the users of the whole fleet, and it takes no more room the longer an incident lasts.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detectors.incidents.grouping import MINUTE, Agents
from detectors.windows.keys import column, grouped
from detectors.windows.minute import Minute
from detectors.windows.users import MARKS, MOST, distinct, union

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

_RUNS: Final = "run_traffic"
_BLOCK: Final = 10 * MINUTE
_BLOCKS: Final = 6
_ENOUGH: Final = 20
"""Users of the fleet, to speak of a share of them."""
_SAID: Final = 0.5
"""Share of the fleet's runs that must say whose they are: else those that do may be of one agent only."""


class Concerned(NamedTuple):
    """Users that something concerns."""

    users: float
    """With such a run at least."""
    share: float
    """Of the fleet, each of its users counted the same: of one run in ten, a tenth of each user. 0 where too little is
    known."""


class Users:
    """Bounded by the agents of the last hour: three kilobytes for each."""

    def __init__(self) -> None:
        self._block = 0
        """The number of the latest block of ten minutes."""
        self._row: dict[tuple[str, str], int] = {}
        self._bits = np.zeros((1, _BLOCKS, MARKS // 8), np.uint8)
        """Marks that were set, by agent and block; of the whole fleet in row 0."""
        self._said = np.zeros((1, _BLOCKS))
        """Likewise the runs that say whose they are."""
        self._runs = np.zeros(_BLOCKS)
        """All runs of the fleet."""

    def add(self, minute: Minute) -> None:
        """Take in a closed minute."""
        self._turn(minute.start_ns // _BLOCK)
        at = self._block % _BLOCKS
        points = minute.points.filter(pc.equal(minute.points["signal"], _RUNS))
        self._runs[at] += pc.sum(points["n"]).as_py() or 0.0
        lengths = pc.list_value_length(points["bucket"]).to_numpy()
        if not lengths.any():
            return
        tenants, agents = column(points["tenant"]), column(points["agent"])
        groups = grouped([tenants, agents])
        names = zip(tenants.array(groups.first).to_pylist(), agents.array(groups.first).to_pylist(), strict=True)
        rows = np.array([self._row.setdefault(name, len(self._row) + 1) for name in names])
        if more := len(self._row) + 1 - len(self._bits):
            self._bits = np.concatenate([self._bits, np.zeros((more, *self._bits.shape[1:]), np.uint8)])
            self._said = np.concatenate([self._said, np.zeros((more, _BLOCKS))])
        owner = np.repeat(rows[groups.of], lengths)
        mark, count = _flat(points["bucket"]) % MARKS, _flat(points["bucket_count"])
        bit = np.left_shift(1, mark & 7).astype(np.uint8)
        # Of one dimension, or it takes five times as long.
        bits = self._bits[:, at].ravel()
        for of in (owner, 0):
            np.bitwise_or.at(bits, of * (MARKS // 8) + (mark >> 3), bit)
        self._bits[:, at] = bits.reshape(-1, MARKS // 8)
        said = np.bincount(owner, count, len(self._said))
        said[0] = count.sum()
        self._said[:, at] += said

    def concerned(self, agents: Agents, part: float, since_ns: int) -> Concerned:
        """Whom a part of the runs of these agents concerns, within the last hour and since then: users that ask `r`
        times have at least one of such runs with the chance 1 - (1 - part)^r."""
        first = max(since_ns // _BLOCK, self._block - _BLOCKS + 1)
        blocks = np.arange(first, self._block + 1) % _BLOCKS
        rows = np.array([0, *(self._row[agent] for agent in agents if agent in self._row)])
        bits, said = self._bits[rows][:, blocks], self._said[rows][:, blocks]
        came, fleet = distinct(union(bits[1:])), distinct(union(bits[:1]))
        if not came:
            return Concerned(0.0, 0.0)
        part, runs_each = min(max(part, 0.0), 1.0), max(float(said[1:].sum()) / came, 1.0)
        users = came * (1.0 - (1.0 - part) ** runs_each)
        known = _ENOUGH <= fleet < MOST and said[0].sum() >= _SAID * self._runs[blocks].sum()
        return Concerned(users, part * came / fleet if known else 0.0)

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "block": self._block,
            "agents": [list(agent) for agent in self._row],
            "bits": base64.b64encode(zlib.compress(self._bits.tobytes(), 1)).decode(),
            "said": self._said.tolist(),
            "runs": self._runs.tolist(),
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Users:
        """Undo `state`."""
        users = cls()
        users._block = state["block"]
        users._row = {(tenant, agent): row for row, (tenant, agent) in enumerate(state["agents"], 1)}
        bits = np.frombuffer(zlib.decompress(base64.b64decode(state["bits"])), np.uint8)
        users._bits = bits.reshape(len(users._row) + 1, _BLOCKS, MARKS // 8).copy()
        users._said = np.array(state["said"], np.float64)
        users._runs = np.array(state["runs"], np.float64)
        return users

    def _turn(self, block: int) -> None:
        """Go on to another block: what is older than an hour goes, and with it the agents that were silent since."""
        if block == self._block:
            return
        new = np.arange(max(self._block + 1, block - _BLOCKS + 1), block + 1) % _BLOCKS
        self._bits[:, new], self._said[:, new], self._runs[new], self._block = 0, 0.0, 0.0, block
        here: Mask = np.asarray(self._said.any(axis=1))
        here[0] = True
        self._bits, self._said = self._bits[here], self._said[here]
        kept = [agent for agent, row in self._row.items() if here[row]]
        self._row = {agent: row for row, agent in enumerate(kept, 1)}


def _flat(lists: pa.ChunkedArray) -> Rows:
    elements: Rows = pc.list_flatten(lists).to_numpy().astype(np.int64)
    return elements
