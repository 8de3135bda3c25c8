"""A change with what its amendments need."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from detectors.changes.change import Change, Effect
from detectors.changes.track import Track


@dataclass(slots=True)
class Entry:
    """An entry that is still amended, or can be named as a cause."""

    change: Change
    looks: int = 0
    """How many of the times at which effects are looked at are over, since it moved last."""
    moves: int = 0
    """How often its value took over, was rolled back or returned."""
    n_at: float = 0.0
    value_at: float = 0.0
    """Sightings of the track, and of the value, before it moved last: its share is counted from there."""

    def move(self, moved_ns: int, status: str) -> None:
        """Traffic changed: everything is compared anew from then on."""
        self.change = replace(self.change, moved_ns=moved_ns, status=status, effects=(), rebaselined=(), too_large=())
        self.looks = 0
        self.moves += 1

    def measure(self, track: Track | None) -> None:
        """Bring its share up to date."""
        value = track.values.get(self.change.after) if track else None
        if track is not None and value is not None and track.n > self.n_at:
            share = (value.n - self.value_at) / (track.n - self.n_at)
            self.change = replace(self.change, share_after=min(max(share, 0.0), 1.0))

    def state(self) -> list[Any]:
        """As JSON."""
        change = [
            [[getattr(effect, name) for name in _EFFECT] for effect in self.change.effects]
            if part == "effects"
            else getattr(self.change, part)
            for part in _CHANGE
        ]
        return [change, self.looks, self.moves, self.n_at, self.value_at]

    @classmethod
    def of(cls, state: list[Any]) -> Entry:
        """Undo `state`."""
        parts = dict(zip(_CHANGE, state[0], strict=True))
        parts["effects"] = tuple(Effect(*effect) for effect in parts["effects"])
        parts["rebaselined"], parts["too_large"] = tuple(parts["rebaselined"]), tuple(parts["too_large"])
        return cls(Change(**parts), *state[1:])


_CHANGE: Final = tuple(field.name for field in fields(Change) if field.init)
_EFFECT: Final = tuple(field.name for field in fields(Effect))
