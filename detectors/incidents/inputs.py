"""What incidents are made from: the narrow views of engine and ledger, and a step's look at the evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from detectors.alerts import Node
from detectors.changes.change import Change
from detectors.evidence import Evidence
from detectors.incidents.causes import Cells, FloatArray, Layer
from detectors.windows.signals import BY_NAME, Subject

__all__ = ["Change", "Engine", "Evidence", "Ledger", "View", "subject"]


class Engine(Protocol):
    """What incidents ask the engine."""

    def evidence(self, signal: str, since_ns: int) -> Evidence: ...
    def recent(
        self, signal: str, nodes: Collection[Node], since_ns: int, step: int, steps: int
    ) -> tuple[FloatArray, FloatArray]: ...
    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None: ...
    def settle(self, agents: Collection[tuple[str, str]], signals: Collection[str]) -> None: ...


class Ledger(Protocol):
    """What incidents ask the change ledger."""

    @property
    def latest(self) -> Sequence[Change]:
        """Entries that are new or amended as of its latest step."""
        ...

    def since(self, start_ns: int, end_ns: int) -> Sequence[Change]: ...


class View:
    """The evidence as of one step: every question is asked of the engine once."""

    def __init__(self, engine: Engine, now_ns: int) -> None:
        self.engine = engine
        self.now_ns = now_ns
        self._layers: dict[tuple[str, int], Layer] = {}
        self._cells: dict[tuple[tuple[str, ...], int], Cells] = {}

    def layer(self, signal: str, since_ns: int) -> Layer:
        """One signal since then."""
        key = (signal, since_ns)
        found = self._layers.get(key)
        if found is None:
            evidence = self.engine.evidence(signal, since_ns)
            found = self._layers[key] = Layer(
                BY_NAME[signal],
                tuple(evidence.nodes),
                np.nan_to_num(np.asarray(evidence.observed, np.float64)),
                np.nan_to_num(np.asarray(evidence.expected, np.float64)),
                np.nan_to_num(np.asarray(evidence.n, np.float64)),
            )
        return found

    def cells(self, signals: Collection[str], since_ns: int) -> Cells:
        """Signals of one subject since then, laid over each other; by row in the order of their names."""
        names = tuple(sorted(signals))
        key = (names, since_ns)
        found = self._cells.get(key)
        if found is None:
            found = self._cells[key] = Cells([self.layer(name, since_ns) for name in names])
        return found

    def one(self, signal: str, since_ns: int) -> Cells:
        """One signal since then."""
        return self.cells((signal,), since_ns)


def subject(signal: str) -> Subject:
    """What a signal is about."""
    return BY_NAME[signal].subject
