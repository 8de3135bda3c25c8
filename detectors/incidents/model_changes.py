"""Another model answers under the name that was asked for: an incident of its own, also while no signal has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.alerts import Node
from detectors.incidents.grouping import MINUTE, Agents
from detectors.incidents.incident import Measure
from detectors.incidents.inputs import Change, Ledger, View

ATTRIBUTE: Final = "answered_model"
_LOOK_BACK: Final = 180 * MINUTE
_HOLD: Final = 5 * MINUTE
"""So long others that use the model may say the same, or something else."""
_LEAST_SHARE: Final = 0.2
"""Of the answers, before it is news."""
_ENOUGH: Final = 5.0
"""Calls since the change, after which an agent that has not seen it is not part of it."""
_FORGOTTEN: Final = 7 * 24 * 60 * MINUTE
_MOST_KNOWN: Final = 500

Key = tuple[str, str, str, str]
"""Tenant, model asked for, answered before, answered after."""


@dataclass(slots=True)
class ModelChange:
    """What the ledger's entries of all agents say together."""

    key: Key
    scope: Node
    agents: Agents
    time_ns: int
    entries: list[Change]

    @property
    def shifted(self) -> bool:
        """Whether any signal has moved with it."""
        return any(entry.rebaselined or entry.too_large for entry in self.entries)

    @property
    def undone(self) -> bool:
        """Whether it was taken back everywhere."""
        return all(entry.status == "rolled_back" for entry in self.entries)

    @property
    def words(self) -> str:
        """In words."""
        _, model, before, after = self.key
        # Some conventions name only the model that answered.
        start = f"{model} is answered by {after}" if model else f"{after} answers"
        return f"{start} instead of {before}"

    def measures(self) -> list[Measure]:
        """What moved with it, of each signal in the agent in which most was measured."""
        found: dict[str, Measure] = {}
        for entry in self.entries:
            moved = {*entry.rebaselined, *entry.too_large}
            for effect in entry.effects:
                if effect.signal not in moved or effect.part not in ("", self.key[1]):
                    continue
                known = found.get(effect.signal)
                if known is None or known.n < effect.n_after:
                    found[effect.signal] = Measure(
                        effect.signal, effect.after, effect.before, 0.0, entry.time_ns, effect.n_after
                    )
        return [found[signal] for signal in sorted(found)]


@dataclass(slots=True)
class ModelChanges:
    """Which changes are known, and those that are waited with."""

    pending: dict[Key, int] = field(default_factory=dict)
    """When each was first heard of."""
    known: dict[Key, tuple[str, int]] = field(default_factory=dict)
    """Id of the incident, "" where none was opened, and when."""

    def heard(self, view: View, ledger: Ledger) -> list[ModelChange]:
        """All changes of late, in order of time, if there is anything new about one or one is waited with."""
        if not self.pending and not any(change.attribute == ATTRIBUTE for change in ledger.latest):
            return []
        groups: dict[Key, list[Change]] = {}
        for change in ledger.since(view.now_ns - _LOOK_BACK, view.now_ns):
            if change.attribute != ATTRIBUTE or not change.before or not change.after:
                continue
            if change.status == "seen" or (change.share_after < _LEAST_SHARE and change.status != "rolled_back"):
                continue
            groups.setdefault((change.tenant, change.key, change.before, change.after), []).append(change)
        made = [self._made(view, key, entries) for key, entries in groups.items()]
        return sorted(made, key=lambda change: (change.time_ns, change.key))

    def due(self, view: View, change: ModelChange) -> bool:
        """Whether one that is not known yet has been waited with for long enough."""
        first_ns = self.pending.setdefault(change.key, view.now_ns)
        return len(change.agents) > 1 or view.now_ns - first_ns >= _HOLD

    def note(self, change: ModelChange, incident: str, now_ns: int) -> None:
        """It is known from now on."""
        self.pending.pop(change.key, None)
        self.known[change.key] = (incident, now_ns)
        for key in [key for key, (_, at_ns) in self.known.items() if now_ns - at_ns > _FORGOTTEN]:
            del self.known[key]
        while len(self.known) > _MOST_KNOWN:
            del self.known[min(self.known, key=lambda key: (self.known[key][1], key))]

    def reversed_by(self, change: ModelChange) -> str | None:
        """The id of the incident whose change this one takes back; None where it is news."""
        tenant, model, before, after = change.key
        known = self.known.get((tenant, model, after, before))
        return known[0] if known else None

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "pending": [[*key, first_ns] for key, first_ns in sorted(self.pending.items())],
            "known": [[*key, *value] for key, value in sorted(self.known.items())],
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> ModelChanges:
        """Undo `state`."""
        made = cls()
        for tenant, model, before, after, first_ns in state["pending"]:
            made.pending[(tenant, model, before, after)] = first_ns
        for tenant, model, before, after, incident, at_ns in state["known"]:
            made.known[(tenant, model, before, after)] = (incident, at_ns)
        return made

    @staticmethod
    def _made(view: View, key: Key, entries: Sequence[Change]) -> ModelChange:
        tenant, model, _, _ = key
        ordered = sorted(entries, key=lambda entry: (entry.time_ns, entry.id))
        started_ns = ordered[0].time_ns
        agents = frozenset((entry.tenant, entry.agent) for entry in ordered)
        cells = view.one("model_latency", started_ns)
        of_it = cells.mask(Node.make(tenant=tenant, model=model))
        providers = {cells.nodes[cell].value("provider") for cell in (of_it & cells.agents_mask(agents)).nonzero()[0]}
        provider = providers.pop() if len(providers) == 1 else ""
        users = cells.agents(of_it & (cells.n.sum(axis=0) > 0))
        spared = {
            user for user in users - agents if cells.n[:, of_it & cells.agents_mask(frozenset([user]))].sum() >= _ENOUGH
        }
        alone = len(agents) == 1 and (spared or len(users | agents) == 1)
        agent = next(iter(agents))[1] if alone else ""
        scope = Node.make(tenant=tenant, provider=provider, model=model, agent=agent)
        return ModelChange(key, scope, agents if alone or spared else agents | users, started_ns, ordered)
