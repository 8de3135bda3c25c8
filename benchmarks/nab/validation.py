"""Cross-validation of what was tuned on NAB's labels.

The published figure takes the threshold from the corpus that it scores, and our settings were chosen on the same
series. Here threshold and settings are chosen on some series and scored on the others: on all kinds of series but
one (by kind), and on four fifths of the series (by series). That is nested: the choice sees no label that it is scored
by. It cannot undo that a person looked at these series when the list of views was drawn up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from benchmarks.figures import Figure
from benchmarks.nab.corpus import Series
from benchmarks.nab.scoring import STANDARD, FloatArray, Rated, Sweep, sweep
from detectors.univariate.stream import VIEWS, Alarm

FOLDS: Final = 5
SPENDING: Final = (0.55, 0.7, 0.9, 1.0)
STEPS: Final = (0.15, 0.3, 0.5)
PAUSES: Final = ((100, 0.0), (150, 0.0), (50, 0.03), (50, 0.05))


class Choice(NamedTuple):
    """Settings that a search may choose."""

    spending: float
    step: float
    pause_records: int
    pause_share: float
    without: int
    """The view that is left out, or -1."""


def choices() -> list[Choice]:
    """Every combination: with all views, or with one of them left out."""
    grid = product(SPENDING, STEPS, PAUSES, range(-1, len(VIEWS)))
    return [Choice(spending, step, *pause, without) for spending, step, pause, without in grid]


def rescore(evidence: FloatArray, choice: Choice) -> FloatArray:
    """Scores of a series from the evidence (record, view) under other settings."""
    kept = [view for view in range(evidence.shape[1]) if view != choice.without]
    mean = evidence[:, kept].mean(axis=1)
    alarm = Alarm(choice.spending, step=choice.step, pause_records=choice.pause_records, pause_share=choice.pause_share)
    scores = np.zeros(len(mean))
    possible = mean - choice.spending * np.log10(np.arange(1, len(mean) + 1)) > alarm.floor
    for at in np.flatnonzero(possible).tolist():
        scores[at] = alarm.score(at + 1, float(mean[at]))
    return scores


def _kinds(corpus: Sequence[Series]) -> list[str]:
    return ["artificial" if series.group.startswith("artificial") else series.group for series in corpus]


def _held_out(rated: Sequence[Rated], scores: Sequence[Sequence[FloatArray]], folds: Sequence[int | str]) -> float:
    """Score of the corpus when each fold's threshold and settings (rows of `scores`) come from the other folds."""
    total, windows = 0.0, 0
    scored: Sweep | None = None
    for fold in sorted(set(folds), key=str):
        inside = [at for at, one in enumerate(folds) if one == fold]
        others = [at for at, one in enumerate(folds) if one != fold]
        trained = [(sweep([(rated[at], row[at]) for at in others]), row) for row in scores]
        best, row = max(trained, key=lambda one: one[0].score)
        scored = sweep([(rated[at], row[at]) for at in inside])
        total += scored.at(best.best_threshold)
        windows += scored.windows
    assert scored is not None, "a corpus has series"
    return Sweep(scored.thresholds, scored.totals, windows, STANDARD).normalised(total)


def figures(corpus: Sequence[Series], scores: Sequence[FloatArray], evidence: Sequence[FloatArray]) -> Iterator[Figure]:
    """The standard profile, held out: the threshold only (`scores`: those of the settings in use), and everything."""
    rated = [series.rated() for series in corpus]
    by_kind = _kinds(corpus)
    by_series = [at % FOLDS for at in range(len(corpus))]
    yield Figure("nab_threshold_held_out_by_kind", _held_out(rated, [scores], by_kind), "points")
    yield Figure("nab_threshold_held_out_by_series", _held_out(rated, [scores], by_series), "points")
    searched = [[rescore(one, choice) for one in evidence] for choice in choices()]
    yield Figure("nab_nested_by_kind", _held_out(rated, searched, by_kind), "points")
    yield Figure("nab_nested_by_series", _held_out(rated, searched, by_series), "points")
