"""Running sums of every signal of every agent: what it was in the hour before a moment, and what it has been since.

A row is (tenant, agent, provider, part, signal), where part is the model or tool and "" for signals of runs. A *line*
is what is compared: a signal of the whole agent (the sum of its rows), or of one part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import BY_NAME, Form

FloatArray = NDArray[np.float64]
Agent = tuple[str, str]
TrackKey = tuple[str, str, str, str]
"""Tenant, agent, attribute, key."""
Line = tuple[str, str]
"""Part and signal."""

MARK_NS: Final = 5 * MINUTE_NS
MARKS: Final = 13
HOUR_NS: Final = 60 * MINUTE_NS
LATEST_NS: Final = 15 * MINUTE_NS
ROWS: Final = 50_000
AGENT_ROWS: Final = 500
"""Most rows in all and of one agent; points beyond are counted and not compared."""

_CALLS: Final = {"model_error": "model", "tool_invalid": "tool"}
"""Signals whose trials are all calls, and the attribute that they tell of an agent."""
_SEPARATOR: Final = "\x1f"


@dataclass(slots=True)
class Cut:
    """A moment of an agent. Arrays are by line, as many as there were then: later ones had nothing before."""

    time_ns: int
    """Start of the minute that belongs to neither side."""
    minutes: float
    """How many minutes before it are known, an hour or a little more or less."""
    before: FloatArray
    """n, total and squares of those minutes, lines × 3."""
    latest: FloatArray
    """The same of the last quarter of an hour."""
    spread: FloatArray
    """Over the five-minute blocks of those minutes the sum of total²/n, and the number of blocks; lines × 2."""
    base: FloatArray
    """The running sums at the end of the minute, lines × 3."""
    early: FloatArray | None = None
    """What the first half of the time since then added, lines × 3."""

    def state(self) -> list[Any]:
        """As JSON."""
        arrays = (self.before, self.latest, self.spread, self.base)
        early = None if self.early is None else self.early.tolist()
        return [self.time_ns, self.minutes, *(array.tolist() for array in arrays), early]

    @classmethod
    def of(cls, state: list[Any]) -> Cut:
        """Undo `state`."""
        time_ns, minutes, before, latest, spread, base, early = state
        return cls(
            time_ns, minutes, _array(before, 3), _array(latest, 3), _array(spread, 2), _array(base, 3),
            None if early is None else _array(early, 3),
        )  # fmt: skip


@dataclass(slots=True)
class Since:
    """What a cut's lines did after it."""

    minutes: float
    after: FloatArray
    """n, total and squares, lines × 3."""
    spread: FloatArray
    """As in `Cut`, over the blocks of the last hour at most."""


@dataclass(slots=True)
class _AgentRows:
    rows: list[int] = field(default_factory=list)
    """The row of each contribution to a line, and the line."""
    into: list[int] = field(default_factory=list)
    lines: dict[Line, int] = field(default_factory=dict)
    seen: float = 0.0
    """Everything that its rows had counted when it was last looked at, and when that had grown last."""
    last_ns: int = 0


class Sums:
    """The sums of all agents."""

    def __init__(self) -> None:
        self.agents: dict[Agent, _AgentRows] = {}
        self.dropped = 0
        """Points that there was no row for."""
        self._rows: dict[str, int] = {}
        self._size = 0
        self._events = np.zeros(0, np.int64)
        self._calls: dict[int, tuple[TrackKey, str]] = {}
        """By row of _CALLS: the track and value that it tells."""
        self._now = np.zeros((0, 3))
        self._minute = np.zeros((0, 3))
        """What the latest minute added."""
        self._marks = np.zeros((0, MARKS, 3))
        """The sums at the marks, newest last, rows × marks × 3."""
        self._mark_ns = np.full(MARKS, -1, np.int64)

    def add(self, minute: Minute) -> list[tuple[TrackKey, str, float]]:
        """Take in a minute. Returns the models and tools that were called, by track, and how often."""
        if minute.start_ns % MARK_NS == 0:
            self._marks = np.concatenate([self._marks[:, 1:], self._now[:, None]], axis=1)
            self._mark_ns = np.append(self._mark_ns[1:], minute.start_ns)
        points = minute.points
        part = pc.binary_join_element_wise(points["model"], points["tool"], "")
        of = (points["tenant"], points["agent"], points["provider"], part, points["signal"])
        keys = pc.binary_join_element_wise(*of, _SEPARATOR).to_pylist()
        known_rows = self._rows
        at = np.array(
            [known_rows[key] if key in known_rows else self._row(key, minute.start_ns) for key in keys], np.int64
        )
        self._grow()
        known = np.flatnonzero(at >= 0)
        self.dropped += len(at) - len(known)
        at = at[known]
        added = np.empty((self._size, 3))
        for column, name in enumerate(("n", "total", "squares")):
            added[:, column] = np.bincount(at, points[name].to_numpy()[known], self._size)
        called = [(*call, n) for row, call in self._calls.items() if (n := float(added[row, 0]))]
        # Events happen in time: their trials are minutes, also minutes without any.
        added[self._events, 1] = added[self._events, 0]
        added[self._events, 0] = 1.0
        added[self._events, 2] = 0.0
        self._minute = added
        self._now += added
        return called

    def _row(self, key: str, now_ns: int) -> int:
        """A new row, -1 if there is no room for it."""
        parts = key.split(_SEPARATOR)
        if len(parts) != 5 or parts[4] not in BY_NAME:
            return -1
        tenant, agent, _, part, signal = parts
        of = self.agents.setdefault((tenant, agent), _AgentRows())
        of.last_ns = now_ns
        if len(self._rows) >= ROWS or len(of.rows) >= AGENT_ROWS:
            return -1
        row = self._rows[key] = len(self._rows)
        for line in dict.fromkeys([("", signal), (part, signal)]):
            of.rows.append(row)
            of.into.append(of.lines.setdefault(line, len(of.lines)))
        return row

    def _grow(self) -> None:
        """Room for rows that are new; a new row of events has existed for this minute only."""
        more = len(self._rows) - self._size
        if more <= 0:
            return
        self._now = np.concatenate([self._now, np.zeros((more, 3))])
        self._marks = np.concatenate([self._marks, np.zeros((more, MARKS, 3))])
        self._read(list(islice(self._rows, self._size, None)))

    def _read(self, names: list[str]) -> None:
        """Know further rows by their keys."""
        for row, key in enumerate(names, self._size):
            tenant, agent, provider, part, signal = key.split(_SEPARATOR)
            if BY_NAME[signal].form is Form.EVENTS:
                self._events = np.append(self._events, row)
            if signal in _CALLS:
                value = f"{provider}/{part}" if provider and part else part
                self._calls[row] = ((tenant, agent, _CALLS[signal], ""), value)
        self._size += len(names)

    def cut(self, agent: Agent, time_ns: int) -> Cut:
        """Cut the sums of an agent at the latest minute, which began at `time_ns`."""
        of = self.agents.get(agent) or _AgentRows()
        now = _lines(of, self._now)
        end = now - _lines(of, self._minute)
        hour = np.flatnonzero((self._mark_ns >= time_ns - HOUR_NS) & (self._mark_ns < time_ns) & (self._mark_ns >= 0))
        quarter = hour[self._mark_ns[hour] >= time_ns - LATEST_NS]
        marks = [_lines(of, self._marks[:, mark]) for mark in hour]
        return Cut(
            time_ns,
            float(time_ns - self._mark_ns[hour[0]]) / MINUTE_NS if len(hour) else 0.0,
            end - marks[0] if marks else np.zeros_like(end),
            end - marks[-len(quarter)] if len(quarter) else np.zeros_like(end),
            _spread([*marks, end]),
            now,
        )

    def since(self, agent: Agent, cut: Cut, now_ns: int) -> Since:
        """What followed a cut, until the end `now_ns` of the latest minute."""
        of = self.agents.get(agent) or _AgentRows()
        now = _lines(of, self._now)
        base = padded(cut.base, len(now))
        begin = cut.time_ns + MINUTE_NS
        marks = [_lines(of, self._marks[:, mark]) for mark in np.flatnonzero(self._mark_ns > begin)]
        first = [base] if now_ns - begin <= (MARKS - 1) * MARK_NS else []
        return Since(float(now_ns - begin) / MINUTE_NS, now - base, _spread([*first, *marks, now]))

    def lines(self, agent: Agent) -> list[Line]:
        """The lines of an agent, in the order of the arrays."""
        of = self.agents.get(agent)
        return list(of.lines) if of else []

    def forget(self, now_ns: int, keep_ns: int) -> None:
        """Drop the rows of agents of which nothing came for so long."""
        counted = self._now[:, 0].copy()
        counted[self._events] = self._now[self._events, 1]
        for of in self.agents.values():
            seen = float(counted[of.rows].sum())
            if seen != of.seen:
                of.seen, of.last_ns = seen, now_ns
        gone = [agent for agent, of in self.agents.items() if now_ns - of.last_ns > keep_ns]
        if not gone:
            return
        lost = np.zeros(self._size, np.bool_)
        for agent in gone:
            lost[self.agents.pop(agent).rows] = True
        renamed = np.cumsum(~lost) - 1
        self._rows = {key: int(renamed[row]) for key, row in self._rows.items() if not lost[row]}
        for of in self.agents.values():
            of.rows = renamed[of.rows].tolist()
        self._now, self._minute, self._marks = self._now[~lost], self._minute[~lost], self._marks[~lost]
        self._size, self._events, self._calls = 0, np.zeros(0, np.int64), {}
        self._read(list(self._rows))

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        agents = [[*agent, of.rows, of.into, list(of.lines), of.seen, of.last_ns] for agent, of in self.agents.items()]
        return {
            "rows": list(self._rows),
            "agents": agents,
            "mark_ns": self._mark_ns,
            "dropped": self.dropped,
            "now": self._now,
            "marks": self._marks,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Sums:
        """Undo `state`."""
        sums = cls()
        sums._rows = {key: row for row, key in enumerate(state["rows"])}
        sums._read(state["rows"])
        for tenant, agent, rows, into, lines, seen, last_ns in state["agents"]:
            numbered = {(part, signal): line for line, (part, signal) in enumerate(lines)}
            sums.agents[tenant, agent] = _AgentRows(rows, into, numbered, seen, last_ns)
        sums._mark_ns, sums._now, sums._marks = state["mark_ns"], state["now"], state["marks"]
        sums._minute = np.zeros_like(sums._now)
        sums.dropped = state["dropped"]
        return sums


def _lines(of: _AgentRows, values: FloatArray) -> FloatArray:
    """Rows added up into lines."""
    out = np.zeros((len(of.lines), 3))
    np.add.at(out, of.into, values[of.rows])
    return out


def _spread(sums: list[FloatArray]) -> FloatArray:
    """Of the blocks between running sums: the sum of total²/n, and how many have anything in them."""
    out = np.zeros((len(sums[0]), 2))
    for earlier, later in pairwise(sums):
        block = later - earlier
        n, total = block[:, 0], block[:, 1]
        some = n > 1e-9
        out[:, 0] += np.divide(total * total, n, out=np.zeros_like(n), where=some)
        out[:, 1] += some
    return out


def padded(values: FloatArray, rows: int) -> FloatArray:
    """Zeros for lines that came later."""
    return np.concatenate([values, np.zeros((rows - len(values), values.shape[1]))]) if rows > len(values) else values


def _array(values: list[Any], columns: int) -> FloatArray:
    return np.array(values, np.float64).reshape(-1, columns)
