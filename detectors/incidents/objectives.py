"""Declared objectives: an incident for each whose error budget burns too fast, with the burn rates as its signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from detectors.alerts import Node
from detectors.declared import COUNTABLE, check
from detectors.incidents.case import Case
from detectors.incidents.incident import Incident, Kind, Measure, Severity, Status, identity
from detectors.incidents.severity import Traffic, graver
from detectors.incidents.silences import Silences
from detectors.incidents.summary import PHRASES, clock, percent, place
from detectors.plugins.burn_rate import TIERS, BurnRate, Tier
from detectors.series.clockwork import DAY, WEEK
from detectors.series.pack import pack, unpack
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import Signal, Subject
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection, Objective

REOPEN: Final = 30 * MINUTE_NS
"""What burns again so soon is the same incident."""
_TELL_AGAIN: Final = 15 * MINUTE_NS
_SEVERITIES: Final = (Severity.CRITICAL, Severity.WARNING, Severity.TICKET)
"""By tier."""
_BOOK_DAYS: Final = 30
"""What the tiers of the workbook are made for."""
_TWICE: Final = 2.0
"""An onset is where failures became more likely by at least about the square root of this."""
_MOST: Final = 50.0
_VERSION: Final = 1


def tiers(window_d: float) -> tuple[Tier, ...]:
    """The workbook's tiers for an objective over so many days: the same shares of the budget in windows that are so
    much longer or shorter, so at the same burn rates."""
    stretch = window_d / _BOOK_DAYS
    return tuple(
        Tier(max(1, round(tier.long * stretch)), max(1, round(tier.short * stretch)), tier.factor) for tier in TIERS
    )


@dataclass(slots=True)
class _Burn:
    """One objective and what is known of it."""

    objective: Objective
    signal: Signal
    scope: Node
    tiers: tuple[Tier, ...]
    rate: BurnRate
    burning: list[bool]
    """By tier."""
    cusum: float = 0.0
    start_ns: int = 0
    """Where the CUSUM of the failures was last zero."""
    failures: float = 0.0
    """Since then."""
    worst: int = 0
    """The most urgent tier of the latest incident."""
    cases: list[Case] = field(default_factory=list)
    """Incidents that have not come for the last time, the latest last."""

    @classmethod
    def of(cls, objective: Objective) -> _Burn:
        """Nothing is known."""
        signal = COUNTABLE[objective.signal]
        steps = tiers(objective.window_d)
        rate = BurnRate(1, 1 - objective.objective, steps)
        scope = Node.make(**{str(name): value for name, value in objective.scope.items()})
        return cls(objective, signal, scope, steps, rate, [False] * len(steps))

    @property
    def allowed(self) -> float:
        """Share of trials that may fail."""
        return 1 - self.objective.objective

    @property
    def latest(self) -> Case | None:
        """The latest incident, if it may still change."""
        return self.cases[-1] if self.cases else None


class Objectives:
    """All declared objectives. They see every minute, and neither the engine nor the other incidents.

    A tier begins to burn when both of its windows do, and so many failures would be chance in at most
    `false_pages_per_week` weeks if all objectives were just met; it goes on while both windows burn. The incident opens
    with the first tier and is over when no tier burns that is as urgent as its most urgent one: the slow tiers, which
    remember it for hours, neither keep it open nor open another.
    """

    def __init__(self, settings: Detection, silences: Silences | None = None) -> None:
        """Raises InvalidError for an objective that can not be evaluated."""
        check(settings.slos)
        self._silences = silences or Silences()
        self._burns = [_Burn.of(objective) for objective in settings.slos]
        self._chance = settings.false_pages_per_week / (WEEK * max(len(self._burns), 1) * len(TIERS))
        self._end_ns = 0

    @property
    def open(self) -> int:
        """How many incidents are open."""
        return sum(case.open for case in self.cases)

    @property
    def cases(self) -> Sequence[Case]:
        """Those that are open, and those that may come back."""
        return [case for burn in self._burns for case in burn.cases]

    def step(self, minute: Minute) -> list[Incident]:
        """Take in a closed minute. Returns the incidents that opened or changed, by time of opening."""
        if not self._burns:
            return []
        now_ns = minute.end_ns
        wanted = pa.array(sorted({burn.objective.signal for burn in self._burns}))
        points = minute.points.filter(pc.is_in(minute.points["signal"], wanted))
        missed = (minute.start_ns - self._end_ns) // MINUTE_NS if self._end_ns else 0
        self._end_ns = now_ns
        changed = []
        for burn in self._burns:
            own = points.filter(_mask(points, burn.objective))
            trials, failures = (float(pc.sum(own[name]).as_py() or 0.0) for name in ("n", "total"))
            for _ in range(min(missed, burn.tiers[-1].long)):
                burn.rate.learn_score(np.zeros((1, 2)))
            burn.rate.learn_score(np.array([[failures, trials]]))
            _date(burn, trials, failures, now_ns)
            self._follow(burn, now_ns)
            case = burn.latest
            if case is not None and case.open:
                _assess(burn, case, own, minute)
            changed += self._changed(burn, now_ns)
        return sorted(changed, key=lambda incident: (incident.opened_ns, incident.id))

    def finish(self) -> list[Incident]:
        """The input has ended: the final state of all that have not come for the last time."""
        last = self.cases
        for case in last:
            case.incident.settled = True
        return sorted((case.copy() for case in last), key=lambda incident: (incident.opened_ns, incident.id))

    def snapshot(self) -> bytes:
        """All that is needed to go on."""
        burns = {str(number): _state(burn) for number, burn in enumerate(self._burns)}
        return pack({"version": _VERSION, "end_ns": self._end_ns, "burns": burns})

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. An objective that was not in it, or was declared otherwise, begins anew; one that is not
        declared any more is forgotten."""
        saved = unpack(state)
        if saved.get("version") != _VERSION:
            raise InvalidError(f"objectives of version {saved.get('version')}, this program writes {_VERSION}")
        self._end_ns = saved["end_ns"]
        known = {of["declared"]: of for of in saved["burns"].values()}
        for burn in self._burns:
            of = known.get(_declared(burn.objective))
            if of is None:
                continue
            burn.rate.restore(of["rate"].tobytes())
            told = orjson.loads(of["told"])
            burn.cases = [Case.of(case) for case in told.pop("cases")]
            for name, value in told.items():
                setattr(burn, name, value)

    def _follow(self, burn: _Burn, now_ns: int) -> None:
        """Which tiers burn, and what that means for the incident."""
        fires, chance = burn.rate.firing()[:, 0].tolist(), burn.rate.by_tier()[:, 0].tolist()
        before = burn.burning
        burn.burning = [f and (b or c <= self._chance) for f, b, c in zip(fires, before, chance, strict=True)]
        begun = [tier for tier, (is_, was) in enumerate(zip(burn.burning, before, strict=True)) if is_ and not was]
        case = burn.latest
        if begun:
            if case is None or case.incident.status is Status.FALSE:
                case = self._open(burn, now_ns)
                burn.worst = begun[0]
            elif not case.open and begun[0] <= burn.worst:
                case.reopen()
            if case.open:
                burn.worst = min(burn.worst, begun[0])
        if case is None or not case.open:
            return
        severity = _SEVERITIES[burn.worst]
        case.incident.severity = graver(case.incident.severity, severity)
        if not any(burn.burning[: burn.worst + 1]):
            case.resolve(now_ns)
            burn.cusum = 0.0

    def _changed(self, burn: _Burn, now_ns: int) -> list[Incident]:
        changed = []
        for case in burn.cases:
            ended_ns = case.incident.resolved_ns
            if ended_ns is not None and now_ns - ended_ns > REOPEN:
                case.incident.settled = True
            case.follow(self._silences, now_ns)
            if case.news(now_ns, _TELL_AGAIN):
                changed.append(case.copy())
        burn.cases = [case for case in burn.cases if not case.incident.settled]
        return changed

    @staticmethod
    def _open(burn: _Burn, now_ns: int) -> Case:
        started_ns = max(burn.start_ns, now_ns - burn.tiers[-1].long * MINUTE_NS)
        incident = Incident(
            identity("", Kind.SLO_BURN, burn.scope, started_ns, burn.objective.name),
            "",
            Kind.SLO_BURN,
            Severity.TICKET,
            Status.OPEN,
            burn.scope,
            opened_ns=now_ns,
            started_ns=started_ns,
            runs=burn.failures if burn.signal.subject is Subject.RUN else 0.0,
        )
        case = Case(incident, frozenset(), {burn.signal.name})
        burn.cases.append(case)
        return case


def _mask(points: pa.Table, objective: Objective) -> pa.ChunkedArray:
    mask = pc.equal(points["signal"], objective.signal)
    for name, value in objective.scope.items():
        mask = pc.and_(mask, pc.equal(points[name], value))
    return mask


def _date(burn: _Burn, trials: float, failures: float, now_ns: int) -> None:
    """The onset: Page's CUSUM of the failures against the objective."""
    gain = failures * math.log(_TWICE) - trials * math.log1p(burn.allowed * (_TWICE - 1))
    burn.cusum = min(max(burn.cusum + gain, 0.0), _MOST)
    burn.failures += failures
    if burn.cusum <= 0:
        burn.start_ns, burn.failures = now_ns, 0.0


def _assess(burn: _Burn, case: Case, own: pa.Table, minute: Minute) -> None:
    """Burn rates at their worst, blast radius and summary."""
    incident = case.incident
    rates, chance = burn.rate.rates()[:, 0, 0], burn.rate.by_tier()[:, 0]
    trials = burn.rate.trials()[:, 0]
    for number, tier in enumerate(burn.tiers):
        direct = burn.burning[number]
        told = Measure(
            f"burn_rate_{_span(tier.long, 'mhd')}",
            float(rates[number]),
            tier.factor,
            -math.log(max(float(chance[number]), 1e-300)),
            incident.started_ns,
            float(trials[number]),
            direct,
        )
        _keep(incident, told)
        if number == burn.worst:
            _keep(
                incident,
                replace(told, signal=burn.signal.name, observed=told.observed * burn.allowed, expected=burn.allowed),
            )
    traffic = Traffic(minute.points)
    of_runs = burn.signal.subject is Subject.RUN
    for row in own.select(["tenant", "agent", "total"]).to_pylist():
        agent = (row["tenant"], row["agent"])
        runs = traffic.runs.get(agent, 0.0)
        affected = row["total"] if of_runs else min(row["total"], runs)
        if not of_runs or incident.opened_ns < minute.end_ns:
            incident.runs += affected
        incident.cost_usd += traffic.spend.get(agent, 0.0) * min(affected / runs, 1.0) if runs else 0.0
    incident.summary = _sentence(burn, incident)


def _keep(incident: Incident, told: Measure) -> None:
    known = incident.measures.get(told.signal)
    if known is None or known.evidence <= told.evidence:
        incident.measures[told.signal] = told
    elif known.direct != told.direct:
        incident.measures[told.signal] = replace(known, direct=known.direct or told.direct)


def _sentence(burn: _Burn, incident: Incident) -> str:
    tier = burn.tiers[burn.worst]
    told = incident.measures[f"burn_rate_{_span(tier.long, 'mhd')}"]
    return (
        f"{burn.objective.name} ({place(burn.scope)}): {PHRASES[burn.signal.name]} "
        f"{percent(told.observed * burn.allowed)} in {_span(tier.long, (' min', ' h', ' d'))}, "
        f"{percent(burn.allowed)} allowed ({100 * burn.objective.objective:.6g}% good over "
        f"{burn.objective.window_d:g} days); the error budget burns {told.observed:.1f} times too fast "
        f"since {clock(incident.started_ns)} UTC."
    )


def _span(minutes: int, units: Sequence[str]) -> str:
    """So many minutes, hours or days."""
    if minutes % DAY == 0:
        return f"{minutes // DAY}{units[2]}"
    return f"{minutes // 60}{units[1]}" if minutes % 60 == 0 else f"{minutes}{units[0]}"


def _declared(objective: Objective) -> str:
    return orjson.dumps(objective.model_dump(), option=orjson.OPT_SORT_KEYS).decode()


def _state(burn: _Burn) -> dict[str, Any]:
    told = {name: getattr(burn, name) for name in ("burning", "cusum", "start_ns", "failures", "worst")}
    told["cases"] = [case.state() for case in burn.cases]
    rate = np.frombuffer(burn.rate.snapshot(), dtype=np.uint8)
    return {"declared": _declared(burn.objective), "told": orjson.dumps(told).decode(), "rate": rate}
