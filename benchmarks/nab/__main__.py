"""NAB with our detector for single series: `python -m benchmarks.nab [--data PATH]`.

Prints a table by profile beside the published figures of others, a line for each series, and JSON lines. The data
are a checkout of NAB (data/ and labels/); `--data`, or `nab` below the folder that DIMWATCH_DATA names. `--out FILE`
writes Markdown with machine, commit and date.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, heading
from benchmarks.nab import validation
from benchmarks.nab.corpus import Series, load
from benchmarks.nab.scoring import OUTSIDE, PROFILES, STANDARD, FloatArray, Sweep, sweep
from detectors.univariate.stream import Evidence, StreamDetector

PUBLISHED: Final[tuple[tuple[str, tuple[float | None, ...]], ...]] = (
    ("ARTime", (74.9, 65.2, 80.4)),
    ("Numenta HTM", (70.1, 63.2, 74.3)),
    ("CAD OSE", (69.9, 67.0, 73.2)),
    ("Skyline", (58.2, None, None)),
    ("kNN-CAD", (58.0, None, None)),
    ("random cut forest", (51.7, None, None)),
    ("half-space trees (river)", (39.8, None, None)),
    ("windowed Gaussian", (39.6, None, None)),
    ("Bayes change point", (17.7, None, None)),
)
"""Scores on the whole corpus of 58 series, from NAB's own list and the papers."""


def _records(series: Series) -> Iterator[tuple[float, float]]:
    return zip(series.times_s.tolist(), series.values.tolist(), strict=True)


def score(series: Series) -> FloatArray:
    """Our score of each record, computed record by record."""
    detector = StreamDetector()
    return np.array([detector.learn_score(time_s, value) for time_s, value in _records(series)])


def look(series: Series) -> FloatArray:
    """The evidence that the score rests on, by record and view."""
    evidence = Evidence()
    return np.array([evidence.look(time_s, value) for time_s, value in _records(series)])


def _by_series(corpus: Sequence[Series], scores: Sequence[FloatArray], threshold: float) -> Table:
    table = Table("series", "windows", "found", "false alarms", title=f"standard profile, threshold {threshold:.6f}")
    for series, of_series in zip(corpus, scores, strict=True):
        rated = series.rated()
        hit = of_series >= threshold
        hit[: rated.first] = False
        found = len(set(rated.window[hit].tolist()) - {OUTSIDE})
        table.add_row(series.name, str(rated.windows), str(found), str(int((rated.window[hit] == OUTSIDE).sum())))
    return table


def _markdown(corpus: Sequence[Series], sweeps: Sequence[Sweep], figures: Sequence[Figure]) -> str:
    ours = f"**Dimwatch**, the {len(corpus)} series at hand"
    rows: list[tuple[str, tuple[float | None, ...]]] = [(ours, tuple(one.score for one in sweeps))]
    rows += [(f"{name}, 58 series, published", published) for name, published in PUBLISHED]
    lines = [
        f"{len(corpus)} series, {sweeps[0].windows} labelled windows, "
        f"{sum(len(series.values) for series in corpus):,} records.\n",
        f"| detector | {' | '.join(one.profile.name for one in sweeps)} |",
        "|---" * (1 + len(sweeps)) + "|",
        *(f"| {name} | {' | '.join('–' if of is None else f'{of:.1f}' for of in scores)} |" for name, scores in rows),
        "\nThe published figures are for the whole corpus and not strictly comparable. The threshold is fitted to the",
        "corpus that it scores, as NAB's rules have it. Held out and nested are on the standard profile.\n",
        "| figure | value | unit |",
        "|---|---|---|",
        *(f"| {figure.name} | {figure.value:.1f} | {figure.unit} |" for figure in figures),
        f"\nNested: threshold and settings, out of {len(validation.choices())} combinations, are chosen on other",
        f"series: by kind (four kinds) and by series ({validation.FOLDS} folds). The list of views was drawn up by",
        "somebody who had seen these series.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nab", description=__doc__)
    root = os.environ.get("DIMWATCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(root) / "nab" if root else None)
    parser.add_argument("--out", type=Path, help="write the figures there")
    given = parser.parse_args()
    if given.data is None or not given.data.is_dir():
        print("No data: pass --data or set DIMWATCH_DATA to the folder that holds nab/.", file=sys.stderr)
        return 2
    head, corpus = heading("NAB"), load(given.data)
    started = time.process_time()
    scores = [score(series) for series in corpus]
    microseconds = (time.process_time() - started) / sum(len(one) for one in scores) * 1e6
    rated = [(series.rated(), one) for series, one in zip(corpus, scores, strict=True)]
    sweeps = [sweep(rated, profile) for profile in PROFILES]

    table = Table("detector", *(profile.name for profile in PROFILES))
    table.add_row(f"Dimwatch, these {len(corpus)} series", *(f"{one.score:.1f}" for one in sweeps), style="bold")
    for name, published in PUBLISHED:
        table.add_row(f"{name}, 58 series, published", *("–" if one is None else f"{one:.1f}" for one in published))
    console = Console()
    console.print(table, _by_series(corpus, scores, sweeps[PROFILES.index(STANDARD)].best_threshold))
    figures = [Figure(f"nab_{one.profile.name.replace(' ', '_').lower()}", one.score, "points") for one in sweeps]
    figures.append(Figure("nab_cost", microseconds, "us/record"))
    for figure in figures:
        print(figure.json(), flush=True)
    for figure in validation.figures(corpus, scores, [look(series) for series in corpus]):
        print(figure.json(), flush=True)
        figures.append(figure)
    if given.out:
        given.out.write_text(head + _markdown(corpus, sweeps, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
