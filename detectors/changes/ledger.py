"""The change ledger: what agents run on, since when, and what became of their signals.

A value is new when it is seen for the first time after the warm-up of its track (an attribute of an agent), and is an
entry once it is here to stay (`track`). Entries are amended after ten minutes, an hour and six hours with before and
after of every signal of the agent (`effects`), and when the value takes over, is rolled back or returns. A shift that
an entry explains may count as normal at once (`excuse`). Everything follows from the minutes alone, and everything is
bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Final, Protocol

from detectors.alerts import Node
from detectors.changes.change import DELIBERATE, SETS, Change
from detectors.changes.compare import Comparison
from detectors.changes.entry import Entry
from detectors.changes.excuse import EXCUSES_NS, TOGETHER_NS
from detectors.changes.sighted import sighted
from detectors.changes.sums import Cut, Sums, TrackKey
from detectors.changes.track import HOUR_NS, KEEP_NS, MINUTES, Track, Trial
from detectors.series.pack import pack, unpack
from detectors.windows.minute import MINUTE_NS, Minute
from dimwatch.errors import InvalidError

TRACKS: Final = 100_000
AGENT_TRACKS: Final = 64
"""Most tracks in all and of one agent; values of others are counted as dropped."""
ENTRIES: Final = 5_000
"""Most entries that can still be amended, or be named as causes; the oldest make room."""
CUTS: Final = 512
"""Most moments that are compared at once; entries beyond have no effects."""

LOOKS_NS: Final = (10 * MINUTE_NS, HOUR_NS, 6 * HOUR_NS)
"""When the effects are looked at."""
_SWEEP_NS: Final = 10 * MINUTE_NS
_QUIET_NS: Final = HOUR_NS
"""An entry is not amended again for a change of traffic within that."""
_VERSION: Final = 2


class Engine(Protocol):
    """What the ledger tells the engine."""

    def rebaseline(self, node: Node, signals: Collection[str], since_ns: int) -> None: ...


class Ledger:
    """All changes of the fleet that still matter."""

    def __init__(self) -> None:
        self.tracks: dict[TrackKey, Track] = {}
        self.entries: dict[str, Entry] = {}
        self.sums = Sums()
        self.latest: list[Change] = []
        """What the latest step returned."""
        self.dropped = 0
        """Tracks, values, entries and comparisons that there was no room for, once each time."""
        self._agents: dict[tuple[str, str], int] = {}
        self._trials: set[tuple[TrackKey, str]] = set()
        self._cuts: dict[tuple[str, str, int], Cut] = {}

    def step(self, minute: Minute, engine: Engine) -> list[Change]:
        """Take in a closed minute; returns entries that are new or amended, in the order of their tracks."""
        changed = self._see(minute, self.sums.add(minute))
        changed |= self._judge(minute.start_ns)
        if minute.start_ns % _SWEEP_NS == 0:
            changed |= self._miss(minute.start_ns)
            self._tidy()
        changed |= self._look(minute, engine)
        if minute.start_ns % HOUR_NS == 0:
            self._forget(minute.start_ns)
        changed &= self.entries.keys()  # what has just been forgotten is no news
        for id_ in changed:
            entry = self.entries[id_]
            entry.change = replace(entry.change, version=minute.start_ns)
        self.latest = sorted((self.entries[id_].change for id_ in changed), key=_order)
        return self.latest

    def since(self, start_ns: int, end_ns: int) -> list[Change]:
        """Changes between two moments (both included), those that are too new to be entries with the status `seen`."""
        return [
            change
            for change in (*(entry.change for entry in self.entries.values()), *self._seen())
            if any(start_ns <= time_ns <= end_ns for time_ns in (change.time_ns, change.moved_ns))
        ]

    def _see(self, minute: Minute, called: list[tuple[TrackKey, str, float]]) -> set[str]:
        """Values of a minute: begins trials. Returns entries of values that are back."""
        changed = set()
        for key, values in sighted(minute.sightings, called):
            track = self.tracks.get(key)
            if track is None:
                tracks = self._agents.get(key[:2], 0)
                if tracks >= AGENT_TRACKS or len(self.tracks) >= TRACKS:
                    self.dropped += 1
                    continue
                self._agents[key[:2]] = tracks + 1
                track = self.tracks[key] = Track(minute.start_ns, minute.start_ns, key[2] in SETS)
            begun, back, lost = track.see(minute.start_ns, values)
            self.dropped += lost
            for name in begun:
                self._trials.add((key, name))
                self._cut(key, minute.start_ns)
            for name in back:
                entry = self.entries.get(track.values[name].farewell)
                if entry is not None:
                    share = values[name] / sum(values.values())
                    entry.change = replace(entry.change, status="returned", moved_ns=minute.start_ns, share_after=share)
                    changed.add(entry.change.id)
        return changed

    def _cut(self, key: TrackKey, time_ns: int) -> None:
        at = (*key[:2], time_ns)
        if at in self._cuts:
            return
        if len(self._cuts) >= CUTS:
            self._tidy()
        if len(self._cuts) >= CUTS:
            self.dropped += 1
            return
        self._cuts[at] = self.sums.cut(key[:2], time_ns)

    def _judge(self, now_ns: int) -> set[str]:
        """Ends the trials that can be. Returns new and amended entries. What the provider changes, it changes for all:
        what several agents see for the first time is believed sooner."""
        changed = set()
        heard = self._heard(now_ns)
        for key, name in sorted(self._trials):
            track = self.tracks[key]
            trial = track.trial(name)
            own = trial.minutes if trial is not None else 0
            verdict = track.passed(name, max(heard[key[2], key[3], name] - own, 0))
            if verdict is None:
                continue
            self._trials.discard((key, name))
            if verdict:
                changed |= self._enter(key, track, name)
                track.settle(name)
            elif name in track.values:
                track.values[name].trial = None
        return changed

    def _heard(self, now_ns: int) -> Counter[tuple[str, str, str]]:
        """Minutes of the last hour in which agents saw a value of the provider's for the first time."""
        minutes: Counter[tuple[str, str, str]] = Counter()
        for key, name in self._trials:
            trial = self.tracks[key].trial(name)
            if trial is not None and now_ns - trial.since_ns <= HOUR_NS and key[2] not in DELIBERATE:
                minutes[key[2], key[3], name] += trial.minutes
        for entry in self.entries.values():
            change = entry.change
            if not change.deliberate and change.after and now_ns - change.moved_ns <= HOUR_NS:
                minutes[change.attribute, change.key, change.after] += MINUTES
        return minutes

    def _enter(self, key: TrackKey, track: Track, name: str) -> set[str]:
        """A value that is here to stay, or took over: a new entry, or the amendment of the one it has."""
        value = track.values[name]
        trial = value.trial
        assert trial is not None
        before, had = track.replaced(name)
        if value.known:
            own, reverted = self.entries.get(value.entry), None
            if before in track.values:
                reverted = self.entries.get(track.values[before].entry)
            entry = own or (reverted if reverted and reverted.change.before == name else None)
            if entry is not None:
                if trial.since_ns - entry.change.moved_ns < _QUIET_NS and entry.moves:
                    return set()
                entry.move(trial.since_ns, "took_over" if entry is own else "rolled_back")
                self._count(entry, track, trial)
                return {entry.change.id}
        change = Change(
            *key, before, name, trial.since_ns, trial.since_ns, "took_over" if value.known else "appeared", had, 0.0, 0
        )
        value.entry = change.id
        entry = self._add(change)
        self._count(entry, track, trial)
        return {change.id}

    def _add(self, change: Change) -> Entry:
        if len(self.entries) >= ENTRIES:
            oldest = min(self.entries.values(), key=lambda entry: (entry.change.moved_ns, entry.change.id))
            del self.entries[oldest.change.id]
            self.dropped += 1
        entry = self.entries[change.id] = Entry(change)
        return entry

    def _count(self, entry: Entry, track: Track, trial: Trial) -> None:
        """From when on the share of an entry's value is counted: the beginning of the trial."""
        entry.n_at, entry.value_at = trial.n_at, trial.counts.get(entry.change.after, 0.0)
        entry.measure(track)

    def _miss(self, now_ns: int) -> set[str]:
        """Tools and models that vanished, and no other took their place. Returns new entries."""
        changed = set()
        for key, track in sorted(item for item in self.tracks.items() if item[0][2] in SETS):
            for name in track.missing(now_ns):
                self._trials.discard((key, name))
                value = track.values[name]
                followed = (self.entries.get(other.entry) for other in track.values.values())
                if any(
                    entry is not None
                    and entry.change.before == name
                    and entry.change.moved_ns > value.last_ns - HOUR_NS
                    for entry in followed
                ):
                    continue
                share = value.n / track.n
                change = Change(*key, name, "", value.last_ns, value.last_ns, "vanished", share, 0.0, 0)
                value.farewell = change.id
                self._add(change).looks = len(LOOKS_NS)
                changed.add(change.id)
        return changed

    def _look(self, minute: Minute, engine: Engine) -> set[str]:
        """Effects of the entries whose time has come, and shifts that they excuse. Returns amended entries."""
        changed = set()
        for id_, entry in self.entries.items():
            change = entry.change
            age = minute.start_ns - change.moved_ns
            due = entry.looks < len(LOOKS_NS) and age >= LOOKS_NS[entry.looks]
            young = bool(change.after) and age in EXCUSES_NS
            if not due and not young:
                continue
            cut_ = self._cuts.get((change.tenant, change.agent, change.moved_ns))
            if cut_ is not None:
                of = (change.tenant, change.agent)
                comparison = Comparison(self.sums.lines(of), cut_, self.sums.since(of, cut_, minute.end_ns))
                if young and self._excuse(entry, comparison, engine):
                    due = True
                if due:
                    entry.change = replace(entry.change, effects=tuple(comparison.effects()))
            while entry.looks < len(LOOKS_NS) and age >= LOOKS_NS[entry.looks]:
                entry.looks += 1
            if due:
                entry.measure(self.tracks.get((change.tenant, change.agent, change.attribute, change.key)))
                changed.add(id_)
        for (tenant, agent, time_ns), cut in self._cuts.items():
            if 2 * (minute.start_ns - time_ns) in EXCUSES_NS:
                cut.early = self.sums.since((tenant, agent), cut, minute.end_ns).after
        return changed

    def _excuse(self, entry: Entry, comparison: Comparison, engine: Engine) -> bool:
        """Tell the engine of shifts that this entry explains. Returns whether the entry says more than before."""
        change = entry.change
        normal, large = comparison.excuses()
        if not change.deliberate:
            normal, large = (), (*normal, *large)
        normal = tuple(signal for signal in normal if signal not in change.rebaselined)
        large = tuple(signal for signal in large if signal not in (*change.rebaselined, *change.too_large))
        told = {
            signal
            for other in self.entries.values()
            if (other.change.tenant, other.change.agent) == (change.tenant, change.agent)
            and abs(other.change.moved_ns - change.moved_ns) <= TOGETHER_NS
            for signal in other.change.rebaselined
        }
        if news := [signal for signal in normal if signal not in told]:
            engine.rebaseline(Node.make(tenant=change.tenant, agent=change.agent), news, change.moved_ns)
        if normal or large:
            entry.change = replace(
                change,
                rebaselined=(*change.rebaselined, *normal),
                too_large=(*(signal for signal in change.too_large if signal not in normal), *large),
            )
        return bool(normal or large)

    def _seen(self) -> list[Change]:
        """Values on trial that have most of the traffic since they came."""
        found = []
        for key, name in sorted(self._trials):
            track = self.tracks[key]
            trial = track.trial(name)
            if trial is None or trial.n < 0.5 * (track.n - trial.n_at):
                continue
            before, had = track.replaced(name)
            share = trial.n / (track.n - trial.n_at)
            since = trial.since_ns
            found.append(Change(*key, before, name, since, since, "seen", had, share, since))
        return found

    def _forget(self, now_ns: int) -> None:
        """Drop what no longer matters: comparisons that are over, entries and values of more than a week ago."""
        for id_ in [id_ for id_, entry in self.entries.items() if now_ns - entry.change.moved_ns > KEEP_NS]:
            del self.entries[id_]
        for key, track in list(self.tracks.items()):
            track.forget(now_ns)
            if now_ns - track.last_ns > KEEP_NS:
                del self.tracks[key]
                self._agents[key[:2]] -= 1
        gone = [agent for agent, tracks in self._agents.items() if not tracks]
        for agent in gone:
            del self._agents[agent]
        self.sums.forget(now_ns, KEEP_NS)
        self._trials = {
            (key, name) for key, name in self._trials if key in self.tracks and self.tracks[key].trial(name)
        }

    def _tidy(self) -> None:
        """Drop comparisons that nothing needs."""
        needed = {
            (entry.change.tenant, entry.change.agent, entry.change.moved_ns)
            for entry in self.entries.values()
            if entry.looks < len(LOOKS_NS)
        }
        for key, name in self._trials:
            trial = self.tracks[key].trial(name)
            if trial is not None:
                needed.add((*key[:2], trial.since_ns))
        self._cuts = {at: cut for at, cut in self._cuts.items() if at in needed}

    def snapshot(self) -> bytes:
        """Everything, to go on from here after a restart."""
        state = {
            "version": _VERSION,
            "sums": self.sums.state(),
            "tracks": [[*key, track.state()] for key, track in sorted(self.tracks.items())],
            "entries": [entry.state() for entry in self.entries.values()],
            "trials": [[*key, name] for key, name in sorted(self._trials)],
            "cuts": [[tenant, agent, cut.state()] for (tenant, agent, _), cut in sorted(self._cuts.items())],
            "dropped": self.dropped,
        }
        return pack(state)

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. Raises InvalidError for anything else: start without it then, the ledger warms up anew."""
        head = unpack(state)
        if head.get("version") != _VERSION:
            raise InvalidError(f"a change ledger of version {head.get('version')}, this program writes {_VERSION}")
        self.sums = Sums.of(head["sums"])
        self.tracks = {(key[0], key[1], key[2], key[3]): Track.of(track) for *key, track in head["tracks"]}
        entries = [Entry.of(entry) for entry in head["entries"]]
        self.entries = {entry.change.id: entry for entry in entries}
        self._trials = {((key[0], key[1], key[2], key[3]), name) for *key, name in head["trials"]}
        cuts = [(tenant, agent, Cut.of(cut)) for tenant, agent, cut in head["cuts"]]
        self._cuts = {(tenant, agent, cut.time_ns): cut for tenant, agent, cut in cuts}
        self._agents = {}
        for key in self.tracks:
            self._agents[key[:2]] = self._agents.get(key[:2], 0) + 1
        self.dropped = head["dropped"]
        self.latest = []


def _order(change: Change) -> tuple[str, ...]:
    return (change.tenant, change.agent, change.attribute, change.key, change.after, change.before, change.id)
