"""The series of NAB and their labelled windows, as they lie on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.nab.scoring import Rated, rate


@dataclass(frozen=True, slots=True)
class Series:
    """One labelled series."""

    name: str
    """`<group>/<file>`."""
    times_s: NDArray[np.float64]
    """Seconds since 1970, ascending."""
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]
    """First and last record of each labelled window."""

    @property
    def group(self) -> str:
        """The kind of series."""
        return self.name.split("/")[0]

    def rated(self) -> Rated:
        """What detections in it are worth."""
        return rate(len(self.values), self.windows)


def _seconds(times: pd.Series) -> NDArray[np.float64]:
    return np.asarray(pd.to_datetime(times).to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9)


def _record(times: NDArray[np.float64], time_s: float) -> int:
    """The first record of a time: a clock change may repeat an hour."""
    found = np.flatnonzero(times == time_s)
    if not len(found):
        raise ValueError(f"a window begins or ends at {time_s:.0f}, and no record has that time")
    return int(found[0])


def load(folder: Path) -> list[Series]:
    """Every labelled series of a checkout of NAB (`data/`, `labels/combined_windows.json`), in the order of names.

    Labels of files that are not there are left out.
    """
    labels: dict[str, list[list[str]]] = json.loads((folder / "labels" / "combined_windows.json").read_text())
    corpus = []
    for name in sorted(labels):
        file = folder / "data" / name
        if not file.exists():
            continue
        table = pd.read_csv(file)
        times = _seconds(table["timestamp"])
        limits = [_seconds(pd.Series(window)) for window in labels[name]]
        windows = tuple((_record(times, first), _record(times, last)) for first, last in limits)
        corpus.append(Series(name, times, table["value"].to_numpy(np.float64), windows))
    if not corpus:
        raise FileNotFoundError(f"{folder} holds no series of NAB: it should have data/ and labels/")
    return corpus
