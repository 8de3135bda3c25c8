"""An incident: what a person handles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
import xxhash

from detectors.alerts import Node
from dimwatch.clock import NS_PER_SECOND, rfc3339

SCOPE: Final = ("provider", "model", "agent", "tool", "release", "region")


class Kind(StrEnum):
    """What is going on."""

    BROWNOUT = "brownout"
    """Model calls are slower than they were, or some of them fail."""
    OUTAGE = "outage"
    """Most model calls fail."""
    TOOL_DEGRADATION = "tool_degradation"
    """A tool fails, says so or not, finds nothing, or is slow."""
    SILENCE = "silence"
    """Runs that should come do not."""
    COST_SPIKE = "cost_spike"
    """Runs need more tokens or money."""
    BEHAVIOUR_SHIFT = "behaviour_shift"
    """Agents act otherwise: more steps, loops, invalid calls, longer answers."""
    QUALITY_DROP = "quality_drop"
    """Answers are cut, withheld or empty, runs fail, or people say that they are bad."""
    MODEL_CHANGE = "model_change"
    """Another model answers than did."""
    SLO_BURN = "slo_burn"
    """A declared objective is missed: its error budget burns too fast."""
    BLIND = "blind"
    """Dimwatch itself can not see: what its canary sends is not readable."""


class Severity(StrEnum):
    """Whom it concerns, from nobody at night to everybody."""

    TICKET = "ticket"
    """Nobody is woken."""
    WARNING = "warning"
    CRITICAL = "critical"


class Status(StrEnum):
    """Where an incident is in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"
    FALSE = "false"
    """Somebody said that it is none."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One signal of an incident."""

    signal: str
    observed: float
    """Rate of hits, geometric mean, or events a minute, since the onset."""
    expected: float
    """The same by the baseline."""
    evidence: float
    """Nats."""
    since_ns: int
    n: float
    direct: bool = True
    """False for a consequence."""

    def json(self) -> dict[str, Any]:
        return {
            "signal": self.signal,
            "observed": float(f"{self.observed:.4g}"),
            "expected": float(f"{self.expected:.4g}"),
            "evidence": round(self.evidence, 1),
            "since": rfc3339(self.since_ns),
            "n": round(self.n),
            "direct": self.direct,
        }


@dataclass(frozen=True, slots=True)
class Recent:
    """How the signal that stands for an incident ran lately in its scope, step by step, as of a version: what a page
    draws. None where nothing was measured."""

    signal: str
    start_ns: int
    step_s: int
    observed: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    """The same by the baseline."""

    def json(self) -> dict[str, Any]:
        return {
            "start": rfc3339(self.start_ns),
            "step_s": self.step_s,
            "observed": list(self.observed),
            "expected": list(self.expected),
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that may have brought an incident about."""

    type: str
    """change (an entry of the ledger), provider, model, tool or agent."""
    what: str
    """In words."""
    evidence: float
    """0 to 1: how well it fits. A rank, not a probability."""
    at_ns: int | None = None
    change: str = ""
    """Id of the ledger's entry."""

    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"type": self.type, "what": self.what, "evidence": round(self.evidence, 2)}
        if self.at_ns is not None:
            told["at"] = rfc3339(self.at_ns)
        if self.change:
            told["change"] = self.change
        return told


@dataclass(slots=True)
class Incident:
    """What is known of one, as of its `version`."""

    id: str
    tenant: str
    """"" where it goes over several."""
    kind: Kind
    severity: Severity
    status: Status
    scope: Node
    opened_ns: int
    """Event time at which it was declared."""
    started_ns: int
    """Estimated onset."""
    resolved_ns: int | None = None
    measures: dict[str, Measure] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    runs: float = 0.0
    """Runs that had to do with it so far."""
    cost_usd: float = 0.0
    """What those runs cost; of a cost spike only what was too much."""
    users: float = 0.0
    """About how many users it concerned in its worst hour; 0 where runs do not say whose they are."""
    summary: str = ""
    recent: Recent | None = None
    version: int = 0
    settled: bool = False
    """Nothing will become of it any more: this is its final state."""

    @property
    def pages(self) -> bool:
        """Whether somebody is told at once."""
        return self.severity is not Severity.TICKET

    def signals(self) -> list[dict[str, Any]]:
        """Its signals, direct ones first, each with the strongest evidence first; with how it ran lately where that is
        known."""
        order = sorted(self.measures.values(), key=lambda m: (not m.direct, -m.evidence, m.signal))
        told = [measure.json() for measure in order]
        for signal in told:
            if self.recent is not None and self.recent.signal == signal["signal"]:
                signal["recent"] = self.recent.json()
        return told

    def row(self) -> dict[str, object]:
        """A row of `dimwatch.records.INCIDENT`."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "kind": self.kind.value,
            "severity": self.severity.value,
            "status": self.status.value,
            **{name: self.scope.value(name) for name in SCOPE},
            "opened_at": _time(self.opened_ns),
            "started_at": _time(self.started_ns),
            "resolved_at": None if self.resolved_ns is None else _time(self.resolved_ns),
            "signals": orjson.dumps(self.signals()).decode(),
            "causes": orjson.dumps([cause.json() for cause in self.causes]).decode(),
            "runs": self.runs,
            "cost_usd": self.cost_usd,
            "summary": self.summary,
            "version": self.version,
        }

    def line(self) -> dict[str, Any]:
        """What `dimwatch replay` prints of it."""
        return {
            "type": "incident",
            "id": self.id,
            "tenant": self.tenant,
            "kind": self.kind.value,
            "severity": self.severity.value,
            "status": self.status.value,
            "scope": {name: self.scope.value(name) for name in SCOPE if self.scope.value(name)},
            "opened_at": rfc3339(self.opened_ns),
            "started_at": rfc3339(self.started_ns),
            "resolved_at": None if self.resolved_ns is None else rfc3339(self.resolved_ns),
            "signals": self.signals(),
            "causes": [cause.json() for cause in self.causes],
            "runs": round(self.runs),
            "cost_usd": round(self.cost_usd, 4),
            "users": round(self.users),
            "summary": self.summary,
        }


def identity(tenant: str, kind: Kind, scope: Node, started_ns: int, name: str = "") -> str:
    """The id of what began then and there: the same on every replay. `name` tells apart what may share all else."""
    minute = started_ns // (60 * NS_PER_SECOND)
    parts: Iterable[str] = (tenant, kind.value, *(f"{of}={value}" for of, value in scope.of), str(minute))
    parts = (*parts, name) if name else parts
    return xxhash.xxh3_64_hexdigest("\x1f".join(parts).encode())


_BLIND: Final = "b11d"


def blind_identity(started_ns: int) -> str:
    """The id of an incident of the canary's, which tells it from those of the fleet stage."""
    return _BLIND + identity("", Kind.BLIND, Node(), started_ns)[len(_BLIND) :]


def is_blind(id_: str) -> bool:
    """Whether an incident that the fleet stage does not know may be the canary's."""
    return id_.startswith(_BLIND)


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS_PER_SECOND, UTC)
