"""An entry of the change ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import orjson
import xxhash

from dimwatch.clock import NS_PER_SECOND

DELIBERATE: Final = frozenset({"release", "prompt", "tools", "tool", "model", "instrumentation"})
"""What only the people who run an agent change. The rest, `answered_model` and `fingerprint`, is the provider's."""
SETS: Final = frozenset({"tool", "model"})
"""Of these an agent has several at once, so that one can vanish without another in its place."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One signal before and after a change."""

    signal: str
    part: str
    """The model or tool, "" for all of the agent."""
    before: float
    """In the hour before: the rate of hits, the geometric mean, or the events a minute."""
    after: float
    """The same since then."""
    low: float
    """Lower end of the 99% interval of the change: of the difference for hits, of the ratio for all else."""
    high: float
    n_before: float
    n_after: float

    @property
    def told(self) -> dict[str, object]:
        """As it is written in the column `effects`."""
        parts = {"part": self.part} if self.part else {}
        values = {"before": self.before, "after": self.after, "interval": [self.low, self.high]}
        rounded = {
            name: [float(f"{x:.5g}") for x in value] if isinstance(value, list) else float(f"{value:.5g}")
            for name, value in values.items()
        }
        return {"signal": self.signal, **parts, **rounded, "n": [self.n_before, self.n_after]}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that an agent runs on appeared, vanished or took over. Amended as more is known: same id, higher
    version."""

    tenant: str
    agent: str
    attribute: str
    """As in `dimwatch.records.SIGHTING`, and `model` (provider and model asked for) and `tool`, from the points."""
    key: str
    before: str
    """What gave way to `after`, or vanished; "" where nothing did."""
    after: str
    """"" for a value that vanished."""
    time_ns: int
    """Start of the minute in which it was first seen, or last seen where it vanished."""
    moved_ns: int
    """Start of the latest change of traffic: later than `time_ns` for a canary that took over or was rolled back."""
    status: str
    """seen (too little as yet to be an entry), appeared, took_over, rolled_back, vanished, returned."""
    share_before: float
    """Share that `before` had in the sightings before."""
    share_after: float
    """Share that `after` has had since it came."""
    version: int
    """Start of the minute in which it was amended last."""
    effects: tuple[Effect, ...] = ()
    rebaselined: tuple[str, ...] = ()
    """Signals whose new level counts as normal, because this explains it."""
    too_large: tuple[str, ...] = ()
    """Signals whose level moved with this and is not excused by it: too far, or by the provider's doing."""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        of = (self.tenant, self.agent, self.attribute, self.key, self.after or f"-{self.before}", str(self.time_ns))
        object.__setattr__(self, "id", xxhash.xxh3_128_hexdigest("\x1f".join(of).encode()))

    @property
    def deliberate(self) -> bool:
        """Whether somebody who runs the agent did it."""
        return self.attribute in DELIBERATE

    def row(self) -> dict[str, object]:
        """A row of `dimwatch.records.CHANGE`."""
        effects = [
            {
                **effect.told,
                **({"rebaselined": True} if effect.signal in self.rebaselined and not effect.part else {}),
                **({"too_large": True} if effect.signal in self.too_large and not effect.part else {}),
            }
            for effect in self.effects
        ]
        return {
            "id": self.id,
            "tenant": self.tenant,
            "agent": self.agent,
            "attribute": self.attribute,
            "key": self.key,
            "before": self.before,
            "after": self.after,
            "time": datetime.fromtimestamp(self.time_ns // NS_PER_SECOND, UTC),
            "status": self.status,
            "share_before": round(self.share_before, 6),
            "share_after": round(self.share_after, 6),
            "effects": orjson.dumps(effects).decode(),
            "version": self.version,
        }
