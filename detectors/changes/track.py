"""The values of one attribute of one agent: which are known, which are new and stay, which are gone.

All tests are on *minutes in which a value was seen*, not on sightings: the calls of one run come together, and fifty of
them say no more than one about whether a value is here to stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from detectors.changes.effects import wilson
from dimwatch.clock import NS_PER_SECOND

HOUR_NS: Final = 3600 * NS_PER_SECOND
KEEP_NS: Final = 7 * 24 * HOUR_NS
"""A value that was not seen for so long is forgotten."""

WARM_UP_NS: Final = HOUR_NS
WARM_UP_MINUTES: Final = 20
"""Values that are first seen so early, or within so many minutes with sightings, have always been there."""

VALUES: Final = 256
"""Most values of a track; the stalest unknown one makes room."""
PENDING: Final = 8
"""Most values of a track that are on trial at once."""
PENDING_NS: Final = 6 * HOUR_NS
"""A trial that has not ended by then ends without a result."""

MINUTES: Final = 3
_SHARE: Final = 0.01
"""Least share of a new value, and the minutes it must be seen in: one stray run is no change."""
_NOVELTY: Final = 9.0
"""Nats: a value of this presence would have stayed unseen before with a chance of 1e-4."""
_TAKEN: Final = 13.0
"""Nats: a known value of its share has so many minutes to itself by a chance of 2e-6."""
_MINOR: Final = 0.25
_MAJOR: Final = 0.75
"""A known value whose usual share is below the first takes over when it comes to the second."""
_GONE: Final = 20.0
"""Nats: a value of this presence stays away so long by a chance of 2e-9 (windows are not independent)."""
_GONE_NS: Final = HOUR_NS
_MEMORY: Final = 500.0
"""Sightings behind a usual share."""
_Z: Final = 1.96
"""Of the lower limit of a presence."""


@dataclass(slots=True)
class Trial:
    """A value that may be about to stay or to take over."""

    since_ns: int
    absent: int
    """Minutes of the track, up to a week of them, in which the value had not been seen before."""
    n_at: float
    minutes_at: int
    """Of the track before the trial."""
    shares: dict[str, float]
    """Usual shares of the values before the trial."""
    counts: dict[str, float]
    """Sightings of those values before the trial."""
    n: float = 0.0
    minutes: int = 0


@dataclass(slots=True)
class Value:
    """What is known of one value."""

    first_ns: int
    last_ns: int
    known: bool
    n: float = 0.0
    minutes: int = 0
    track_first: int = 0
    track_last: int = 0
    """Minutes of the track when it was seen first, and last."""
    usual: float = 0.0
    usual_at: float = 0.0
    gap_ns: int = 0
    """Longest that it stayed away and came back."""
    gone: bool = False
    entry: str = ""
    """Id of the change by which it came."""
    farewell: str = ""
    """Id of the change by which it went."""
    trial: Trial | None = None


@dataclass(slots=True)
class Track:
    """All values of one attribute (and key) of one agent."""

    first_ns: int
    last_ns: int
    several: bool = False
    """Whether the agent uses several values side by side: then no known value takes over from another one."""
    n: float = 0.0
    minutes: int = 0
    usual: float = 0.0
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def warm(self) -> bool:
        """Whether a value that was not seen so far is new."""
        return self.minutes >= WARM_UP_MINUTES and self.last_ns - self.first_ns >= WARM_UP_NS

    def share(self, value: Value) -> float:
        """Usual share of a value."""
        if not self.usual:
            return 0.0
        return value.usual * (1.0 if value.usual_at == self.n else _decay(self.n - value.usual_at)) / self.usual

    def see(self, now_ns: int, counts: Mapping[str, float]) -> tuple[list[str], list[str], int]:
        """Take in a minute. Returns the values whose trial begins with it, those that were gone and are back, and how
        many values there was no room for."""
        self.last_ns = now_ns
        warm, total = self.warm, sum(counts.values())
        begun, back, before, lost = [], [], None, 0
        for name, n in counts.items():
            value = self.values.get(name)
            settled = value is not None and value.known and value.trial is None and not value.gone
            if value is not None and settled and (self.several or n < 0.5 * total or self.share(value) >= _MINOR):
                continue  # the usual case: nothing to find out
            if value is None:
                if len(self.values) >= VALUES:
                    lost += 1
                    if not self._make_room():
                        continue
                value = self.values[name] = Value(now_ns, now_ns, known=not warm, track_first=self.minutes)
            if value.gone:
                value.gone = False
                back.append(name)
            if warm and value.trial is None and not (value.known and self.several):
                if sum(other.trial is not None for other in self.values.values()) >= PENDING:
                    continue  # until another trial has ended
                before = before or (
                    {other: self.share(seen) for other, seen in self.values.items() if seen.minutes},
                    {other: seen.n for other, seen in self.values.items() if seen.minutes},
                )
                absent = self.minutes - value.track_last
                value.trial = Trial(now_ns, min(absent, 10_080), self.n, self.minutes, *before)
                begun.append(name)
        self._count(now_ns, counts, total)
        return begun, back, lost

    def _count(self, now_ns: int, counts: Mapping[str, float], total: float) -> None:
        seen_at = self.n
        self.n += total
        self.minutes += 1
        decay = _decay(total)
        self.usual = self.usual * decay + total
        for name, n in counts.items():
            value = self.values.get(name)
            if value is None:
                continue
            value.usual = value.usual * (decay if value.usual_at == seen_at else _decay(self.n - value.usual_at)) + n
            value.usual_at = self.n
            value.gap_ns = max(value.gap_ns, now_ns - value.last_ns)
            value.last_ns, value.track_last = now_ns, self.minutes
            value.n += n
            value.minutes += 1
            if value.trial is not None:
                value.trial.n += n
                value.trial.minutes += 1

    def _make_room(self) -> bool:
        """Forget the unknown value that was not seen for longest."""
        unknown = [(value.last_ns, name) for name, value in self.values.items() if not value.known]
        if not unknown:
            return False
        del self.values[min(unknown)[1]]
        return True

    def trial(self, name: str) -> Trial | None:
        """The trial that a value is on."""
        value = self.values.get(name)
        return value.trial if value is not None else None

    def passed(self, name: str, seconded: float = 0.0) -> bool | None:
        """Whether a value's trial shows that it is here to stay: None while that is open. `seconded`: minutes in which
        other agents saw the same happen; those count where it has most of the traffic."""
        value = self.values.get(name)
        trial = value.trial if value is not None else None
        if value is None or trial is None or not trial.minutes:
            return False
        minutes, n = self.minutes - trial.minutes_at, self.n - trial.n_at
        share = trial.n / n if n else 0.0
        expired = self.last_ns - trial.since_ns > PENDING_NS
        if value.known:
            if share < 0.5:
                return False
            usual = max(trial.shares.get(name, 0.0), 0.1)
            if trial.minutes >= MINUTES and share >= _MAJOR and trial.minutes * math.log(usual) <= -_TAKEN:
                return True
        else:
            # The chance to miss a value of this presence in all the minutes before.
            presence = min(wilson(trial.minutes, minutes, _Z)[0], 0.99)
            missed = -trial.absent * math.log1p(-presence)
            seen = trial.minutes + (seconded if share >= 0.5 else 0.0)
            if seen >= MINUTES and share >= _SHARE and missed >= _NOVELTY:
                return True
        return False if expired else None

    def settle(self, name: str) -> None:
        """End a trial that was passed. Where the value took over, what is usual begins anew with it."""
        value = self.values[name]
        trial, value.trial, value.known = value.trial, None, True
        n = self.n - trial.n_at if trial else 0.0
        if trial is None or trial.n < 0.5 * n:
            return
        self.usual = n
        for other, seen in self.values.items():
            seen.usual, seen.usual_at = seen.n - trial.counts.get(other, 0.0), self.n

    def replaced(self, name: str) -> tuple[str, float]:
        """The value that gave way to the one on trial, and the share it had; "" where none did. Of several side by side
        one that all but vanished."""
        trial = self.values[name].trial
        if trial is None or not trial.n:
            return "", 0.0
        n = self.n - trial.n_at
        gained = trial.n / n - trial.shares.get(name, 0.0)
        losses = [
            (had - (self.values[other].n - trial.counts.get(other, 0.0)) / n, other)
            for other, had in sorted(trial.shares.items())
            if other != name and other in self.values
        ]
        lost, other = max(losses, default=(0.0, ""))
        gave_way = lost >= 0.9 * trial.shares[other] if self.several and other else lost >= 0.5 * gained
        return (other, trial.shares[other]) if other and gave_way else ("", 0.0)

    def missing(self, now_ns: int) -> list[str]:
        """Values that vanished: marked as gone."""
        found = []
        for name, value in self.values.items():
            away = now_ns - value.last_ns
            if value.gone or not value.known or away < max(_GONE_NS, 3 * value.gap_ns):
                continue
            presence = min(value.minutes / max(value.track_last - value.track_first, 1), 0.95)
            if -(self.minutes - value.track_last) * math.log1p(-presence) >= _GONE:
                value.gone, value.trial = True, None
                found.append(name)
        return sorted(found)

    def forget(self, now_ns: int) -> None:
        """Drop what was not seen for a week."""
        for name in [name for name, value in self.values.items() if now_ns - value.last_ns > KEEP_NS]:
            del self.values[name]

    def state(self) -> list[Any]:
        """As JSON."""
        values = [
            [name, [getattr(value, part) for part in _VALUE], _trial_state(value.trial)]
            for name, value in sorted(self.values.items())
        ]
        return [self.first_ns, self.last_ns, self.several, self.n, self.minutes, self.usual, values]

    @classmethod
    def of(cls, state: list[Any]) -> Track:
        """Undo `state`."""
        first_ns, last_ns, several, n, minutes, usual, values = state
        track = cls(first_ns, last_ns, several, n, minutes, usual)
        for name, parts, trial in values:
            track.values[name] = Value(**dict(zip(_VALUE, parts, strict=True)), trial=trial and Trial(*trial))
        return track


_VALUE: Final = (
    "first_ns", "last_ns", "known", "n", "minutes", "track_first", "track_last", "usual", "usual_at", "gap_ns", "gone",
    "entry", "farewell",
)  # fmt: skip


_TRIAL: Final = tuple(part.name for part in fields(Trial))


def _trial_state(trial: Trial | None) -> list[Any] | None:
    return None if trial is None else [getattr(trial, part) for part in _TRIAL]


def _decay(n: float) -> float:
    return math.exp(-n / _MEMORY)
