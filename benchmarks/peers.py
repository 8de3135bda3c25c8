"""`python -m benchmarks.peers`: what others alert on, beside the engine, at the same budget of false pages.

The same dirty but calm weeks for all (`benchmarks.dirty_series`, failures of 2%), then the same faults. After a week
to warm up, a peer gets a threshold for each class of traffic, as low as calm weeks allow without one false page; as
many weeks again say what that threshold costs (more than the budget: a highest value seen is soon exceeded, which
favours the peers). The engine is calibrated on nothing: its threshold follows from the promise, one false page per
1,000 series a week. `--out FILE` writes Markdown with machine, commit and date.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.dirty_series import RATES, WEEK, Dirty, Fault
from benchmarks.figures import heading
from benchmarks.peer_methods import PEERS, Adwin, Peer
from benchmarks.statistics import FAULTS, Bench, calm, delays
from detectors.series.hits import Hits
from detectors.windows.signals import BY_NAME
from dimwatch.settings import Detection

FloatArray = NDArray[np.float64]

FAILURE_RATE: Final = 0.02
HORIZON: Final = 240
APART: Final = 60
"""Minutes without firing after which it would page again."""
BUDGET: Final = 1 / 1000
"""False pages for a series in a week."""
_INTRODUCTION: Final = """\
Failures of 2%. Cells: median delay until the series' own alert, then % found within 60 and 240 minutes.
Peers: the lowest threshold for each class of traffic without a false page in the weeks to calibrate on.
Dimwatch: the promise of one false page per 1,000 series a week, calibrated on nothing.

"""


class Watched:
    """All peers on one fleet."""

    def __init__(self, series: int, seed: int) -> None:
        self.fleet = Dirty(series, seed, failure_rate=FAILURE_RATE)
        self.peers: dict[str, Peer] = {name: make(series) for name, make in PEERS.items()}
        self.minute = 0

    def step(self, fault: Fault | None = None) -> FloatArray:
        """One minute; the statistics, shape (peers, series)."""
        n = self.fleet.traffic(self.minute, fault)
        failed = self.fleet.failures(self.minute, n, fault)
        self.minute += 1
        return np.stack([peer.step(n, failed) for peer in self.peers.values()])


def thresholds(watched: Watched, minutes: int, warm_up: int) -> FloatArray:
    """The highest value of calm weeks by peer and class of traffic, shape (peers, classes)."""
    highest = np.zeros((len(watched.peers), len(watched.fleet.rate)))
    for minute in range(minutes + warm_up):
        values = watched.step()
        if minute >= warm_up:
            highest = np.maximum(highest, values)
    return np.stack([highest[:, watched.fleet.rate == rate].max(axis=1) for rate in RATES], axis=1)


def false_pages(watched: Watched, limits: FloatArray, minutes: int) -> FloatArray:
    """False pages by peer; what stays, or comes back within an hour, is one."""
    last = np.full(limits.shape, -APART - 1)
    pages = np.zeros(len(limits))
    for minute in range(minutes):
        fires = watched.step() > limits
        pages += (fires & (minute - last > APART)).sum(axis=1)
        last[fires] = minute
    return pages


def found(watched: Watched, limits: FloatArray, fault: dict[str, float], starts: int) -> FloatArray:
    """Minutes until each series fires, shape (peers, starts, series); infinite where it does not in four hours."""
    series = len(watched.fleet.rate)
    everywhere = Fault(np.ones(series, dtype=bool), **fault)
    after = np.full((len(limits), starts, series), np.inf)
    for start in range(starts):
        for _ in range(1440 // starts + 60):
            clear = watched.step() <= limits
        peers = copy.deepcopy(watched.peers)
        minute_before = watched.minute
        for minute in range(HORIZON):
            fires = watched.step(everywhere) > limits
            after[:, start] = np.where(fires & np.isinf(after[:, start]), minute + 1, after[:, start])
        after[:, start][~clear] = np.nan
        watched.peers, watched.minute = peers, minute_before
    return after


def _cell(minutes: FloatArray) -> str:
    known = minutes[~np.isnan(minutes)]
    median = float(np.median(known))
    shown = f"{median:.0f} min" if np.isfinite(median) else "–"
    return f"{shown}, {100 * (known <= 60).mean():.0f}/{100 * (known <= HORIZON).mean():.0f}"


def _row(name: str, false: float, by_fault: list[FloatArray], rate: FloatArray) -> str:
    cells = [_cell(minutes[..., rate == of].reshape(-1)) for minutes in by_fault for of in (30.0, 3.0)]
    return f"| {name} | {false:.1f} | {' | '.join(cells)} |"


def engine_row(series: int, seed: int, weeks: int, starts: int) -> str:
    """The engine, single series only, on the same weeks."""
    settings = Detection(false_pages_per_week=BUDGET * series)
    bench = Bench(Hits(settings, {0: BY_NAME["model_error"]}), Dirty(series, seed, failure_rate=FAILURE_RATE))
    single, pools = calm(bench, 14 * weeks)
    false = (sum(single[weeks:]) + sum(pools[weeks:])) / weeks / series * 1000
    by_fault = [delays(bench, fault, starts) for fault in FAULTS["failures of 2%"].values()]
    return _row("**Dimwatch**, threshold by theory", false, by_fault, bench.fleet.rate)


def table(series: int, seed: int, weeks: int, starts: int) -> Iterator[str]:
    """The Markdown table; `weeks` to calibrate and as many to count false pages in."""
    titles = [f"{title}, {rate}/min" for title in FAULTS["failures of 2%"] for rate in (30, 3)]
    yield f"| method | false pages per 1,000 series a week | {' | '.join(titles)} |"
    yield "|---" * (2 + len(titles)) + "|"
    watched = Watched(series, seed)
    rate = watched.fleet.rate
    by_class = thresholds(watched, weeks * WEEK, WEEK)
    limits = np.zeros((len(PEERS), series))
    for number, of in enumerate(RATES):
        limits[:, rate == of] = by_class[:, [number]]
    pages = false_pages(watched, limits, weeks * WEEK)
    by_fault = [found(watched, limits, fault, starts) for fault in FAULTS["failures of 2%"].values()]
    for number, (name, peer) in enumerate(watched.peers.items()):
        chosen = peer.watched if isinstance(peer, Adwin) else np.arange(series)
        own = [minutes[number][:, chosen] for minutes in by_fault]
        yield _row(name, pages[number] / weeks / len(chosen) * 1000, own, rate[chosen])
    yield engine_row(series, seed, weeks, starts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--weeks", type=int, default=2, help="to calibrate on, and as many to count false pages in")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--starts", type=int, default=4, help="hours of the day at which faults begin")
    parser.add_argument("--out", type=Path, help="write the Markdown there")
    given = parser.parse_args()
    lines, head = [], heading("Peers at the same budget")
    for line in table(given.series, given.seed, given.weeks, given.starts):
        lines.append(line)
        print(line, flush=True)
    if given.out:
        given.out.write_text(head + _INTRODUCTION + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
