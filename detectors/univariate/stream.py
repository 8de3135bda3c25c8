"""One metric, record by record: several views of each record, one calibrated score, and a pause after an alarm.

Every view's answer becomes a conformal p-value among its own past, so that views of different units can be averaged
(as -log10 p, Fisher's way of combining, scaled). Odd records become rarer, in p, the longer a series runs: of t
records one has a p of 1/t by chance alone. The average is therefore set against log10 t, as alpha spending does, which
keeps the number of alarms of a long series near that of a short one. An alarm then keeps the detector quiet for a
while unless things get markedly odder: one alarm an incident, not one a record.

Nothing here looks ahead: a score depends on the records up to its own only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from detectors.univariate.history import History
from detectors.univariate.views import DaySlot, LeftNeighbour, Novelty, SameTime, SpreadNovelty, View

MEMORY: Final = 6_000
"""Records that are remembered, by each view."""
WARM_UP: Final = 100
"""Records before the first score: ranks among fewer say little."""
CHANCE: Final = math.log10(math.e)
"""Mean of -log10 p where nothing is odd."""
VIEWS: Final[tuple[Callable[[], View], ...]] = (
    lambda: Novelty(1, MEMORY),
    lambda: Novelty(8, MEMORY),
    lambda: SpreadNovelty(16, MEMORY),
    lambda: DaySlot(),
    lambda: SameTime(memory=MEMORY),
    lambda: LeftNeighbour(16, MEMORY),
    lambda: LeftNeighbour(64, MEMORY),
)


class Evidence:
    """What every view says of each record."""

    def __init__(self, views: Sequence[Callable[[], View]] = VIEWS) -> None:
        self._views = [view() for view in views]
        self._histories = [History(MEMORY) for _ in views]

    def look(self, time_s: float, value: float) -> list[float]:
        """Learn a record (both finite); -log10 p by view, 0 where a view cannot tell yet."""
        evidence = []
        for view, history in zip(self._views, self._histories, strict=True):
            unlike = view.look(time_s, value)
            if math.isfinite(unlike):
                evidence.append(-math.log10(history.p_value(unlike)))
                history.add(unlike)
            else:
                evidence.append(0.0)
        return evidence


class Alarm:
    """Turns evidence into scores, with a pause after every alarm."""

    def __init__(
        self,
        spending: float = 0.9,
        floor: float = -2.5,
        step: float = 0.3,
        pause_records: int = 50,
        pause_share: float = 0.03,
    ) -> None:
        """`spending`: powers of ten of evidence asked for per power of ten of records seen; `floor`: the least such
        balance that scores at all; `step`: what a record must be odder by, in powers of ten, to be heard during the
        pause, which lasts `pause_records` and `pause_share` of the records seen."""
        self._spending = spending
        self.floor = floor
        self._step = step
        self._pause_records = pause_records
        self._pause_share = pause_share
        self._last_record = -math.inf
        self._last_balance = -math.inf

    def score(self, record: int, evidence: float) -> float:
        """The score in [0, 1) of the `record`-th record, counted from one: 0 while an earlier alarm speaks for it."""
        if record <= WARM_UP or evidence <= CHANCE:
            return 0.0
        balance = evidence - self._spending * math.log10(record)
        if balance <= self.floor:
            return 0.0
        pause = self._pause_records + self._pause_share * record
        if record - self._last_record < pause and balance <= self._last_balance + self._step:
            return 0.0
        self._last_record, self._last_balance = record, balance
        return -math.expm1((self.floor - balance) * math.log(10.0))


class StreamDetector:
    """Scores the records of one series in the order of time. State is bounded."""

    def __init__(self) -> None:
        self._evidence = Evidence()
        self._alarm = Alarm()
        self._seen = 0

    def learn_score(self, time_s: float, value: float) -> float:
        """Learn a record and score it, in [0, 1): 0 is nothing odd.

        `time_s`: seconds since 1970, ascending, but for a clock change. A value that is no finite number is skipped
        and scores 0.
        """
        self._seen += 1
        if not (math.isfinite(value) and math.isfinite(time_s)):
            return 0.0
        evidence = self._evidence.look(time_s, value)
        return self._alarm.score(self._seen, sum(evidence) / len(evidence))
