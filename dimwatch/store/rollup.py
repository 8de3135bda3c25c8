"""Sums that the dashboard reads instead of many rows: what models cost, by the hour, and of that each agent.

An hour is summed when it has been over for a while, and again whenever calls of it, or runs that they may be of, came
since: always all of it, and from rows that are seen once, so that the newest version is right however often calls are
written. Until then, and where nobody has summed, the dashboard adds up the calls themselves.

An hour is read in slices, some traces each, so that no statement takes long or much memory however many calls it has;
its row is written when all of them are there. One that fails takes nothing away from the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson
import pyarrow as pa
import structlog

from dimwatch import telemetry
from dimwatch.errors import RetryableError
from dimwatch.store.codes import code_of

MARGIN_S: Final = 600
"""An hour is summed so long after its end. An insert may take as long from its `inserted_at` until it can be read."""
HOURS: Final = 24
"""So many are summed at a time, those first that were never, then those that were longest ago."""
LONGEST_S: Final = 10
"""A statement that takes longer is given up. Well below the patience of clients and of who waits for the end."""
SLICE_ROWS: Final = 500_000
"""Calls and runs of a slice: a second's work or two. Half as many after one that took too long or too much memory."""
AGENTS: Final = 20_000
"""Of an hour with more pairs of an agent and a model there are no sums by agent: somebody makes up names."""
_BACK_S: Final = 24 * 3600
"""Where nobody knows what the last run left undone, calls are looked at that came so long before the newest sum."""
_FOREVER_S: Final = (1 << 32) - 1
_KEYS: Final = 1 << 64
_MOST: Final = (1 << 63) - 1

_PRESENT: Final = """
SELECT toUnixTimestamp(now('UTC')), toUnixTimestamp(max(inserted_at)) FROM model_hour_versions
"""

_DUE: Final = """
SELECT toUnixTimestamp(hour)
FROM
(
    SELECT tenant, hour, max(inserted_at) AS newest
    FROM
    (
        SELECT tenant, toStartOfHour(start_time) AS hour, inserted_at
        FROM model_call_versions
        WHERE inserted_at >= toDateTime({since_s}, 'UTC') AND inserted_at < toDateTime({until_s}, 'UTC')
        UNION ALL
        SELECT tenant, arrayJoin([toStartOfHour(start_time), toStartOfHour(start_time) + 3600]) AS hour, inserted_at
        FROM run_versions
        WHERE inserted_at >= toDateTime({since_s}, 'UTC') AND inserted_at < toDateTime({until_s}, 'UTC')
    )
    WHERE hour < toStartOfHour(toDateTime({now_s} - {margin_s}, 'UTC'))
    GROUP BY tenant, hour
) AS came
LEFT JOIN (SELECT tenant, hour, inserted_at AS summed_at FROM model_hour_versions FINAL) AS sums USING (tenant, hour)
WHERE newest + {margin_s} >= summed_at OR summed_at > toDateTime({now_s}, 'UTC')
GROUP BY hour
ORDER BY min(summed_at), hour
LIMIT {hours}
SETTINGS max_threads = 1, max_execution_time = {longest_s}
"""
"""A sum that was made in the future, by a clock that has been set back since, tells nothing of what came after it."""

_SIZE: Final = """
SELECT
    toUnixTimestamp(now('UTC')),
    greatest(
        toUnixTimestamp64Nano(now64(9)),
        (SELECT max(version) + 1 FROM model_hour_versions WHERE hour = toDateTime({hour_s}, 'UTC'))
    ),
    (SELECT count() FROM model_call_versions WHERE toStartOfHour(start_time) = toDateTime({hour_s}, 'UTC'))
    + (
        SELECT count() FROM run_versions
        WHERE toStartOfHour(start_time) IN (toDateTime({hour_s}, 'UTC'), toDateTime({hour_s} - 3600, 'UTC'))
    )
SETTINGS max_threads = 1, max_execution_time = {longest_s}
"""

_SLICE: Final = """
SELECT toJSONString((
    tenant, toUInt8(counted), toUInt8(of_all), agent, provider, model, answered,
    (calls, unpriced, cost_usd, failed_usd, input_tokens, output_tokens, cache_read_tokens, reasoning_tokens)
))
FROM
(
    SELECT
        call.tenant AS tenant, call.provider AS provider, call.model AS model,
        run.agent AS agent, call.counted AS counted,
        grouping(run.agent) = 1 AS of_all,
        groupUniqArrayIf({answers})(call.answered, call.answered NOT IN ('', call.model)) AS answered,
        count() AS calls,
        countIf(call.cost_usd IS NULL) AS unpriced,
        sum(call.cost_usd) AS cost_usd,
        sumIf(call.cost_usd, failed) AS failed_usd,
        sum(call.input_tokens) AS input_tokens,
        sum(call.output_tokens) AS output_tokens,
        sum(call.cache_read_tokens) AS cache_read_tokens,
        sum(call.reasoning_tokens) AS reasoning_tokens
    FROM model_calls AS call
    LEFT JOIN
    (
        SELECT tenant, trace_key, toString(any(agent)) AS agent
        FROM runs
        WHERE toStartOfHour(start_time) IN (toDateTime({hour_s}, 'UTC'), toDateTime({hour_s} - 3600, 'UTC'))
            AND trace_key BETWEEN {first} AND {last}
        GROUP BY tenant, trace_key
    ) AS run ON run.trace_key = call.trace_key AND run.tenant = call.tenant
    WHERE toStartOfHour(start_time) = toDateTime({hour_s}, 'UTC') AND call.trace_key BETWEEN {first} AND {last}
    GROUP BY GROUPING SETS
    (
        (tenant, provider, model, counted),
        (tenant, provider, model, counted, agent)
    )
)
WHERE of_all OR (counted AND agent != '')
ORDER BY of_all DESC
LIMIT {rows}
SETTINGS max_threads = 1, max_execution_time = {longest_s}, output_format_json_quote_64bit_integers = 0
"""
"""Calls that do not count are read, too: an hour that has no others any more gets an empty sum, not the old one."""

_FINEST: Final = 64
_TOO_LARGE: Final = {159, 160, 241}
"""Codes of ClickHouse: TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED."""
_ANSWERS: Final = 5
_MOST_ROWS: Final = 2 * AGENTS
"""Of a slice; there are no sums by agent of an hour where one has more. And of an hour, of models alone."""
_ESCAPED: Final = re.compile(r"\\(.)")
_OF_ALL: Final = 2
"""Where a row of a slice says that it is of all agents; such rows come first."""
_SUMS: Final = (
    ("provider", pa.string()), ("model", pa.string()), ("answered", pa.list_(pa.string())),
    ("calls", pa.uint64()), ("unpriced", pa.uint64()), ("cost_usd", pa.float64()), ("failed_usd", pa.float64()),
    ("input_tokens", pa.int64()), ("output_tokens", pa.int64()), ("cache_read_tokens", pa.int64()),
    ("reasoning_tokens", pa.int64()),
)  # fmt: skip
_MODEL: Final = pa.struct(_SUMS)
_AGENT: Final = pa.struct([("agent", pa.string()), *_SUMS])
_HOUR: Final = pa.schema(
    [
        ("tenant", pa.string()),
        ("hour", pa.uint32()),
        ("models", pa.list_(_MODEL)),
        ("agents", pa.list_(_AGENT)),
        ("version", pa.int64()),
        ("inserted_at", pa.uint32()),
    ]
)

_log = structlog.get_logger()


class Tables(Protocol):
    """The tables of a store: `EngineTarget`, or `StoreClient` for a ClickHouse server."""

    def command(self, sql: str) -> str:
        """Run a statement and return its result as TabSeparated text."""
        ...

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows."""
        ...


@dataclass(slots=True)
class _Sums:
    """Of one tenant and hour."""

    models: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)
    """By provider and model: who answered, and numbers that add up, None where nothing is known."""
    agents: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)
    """The same by agent, provider and model; not many more than `AGENTS`."""

    def add(self, names: tuple[str, ...], sums: list[Any]) -> None:
        """Add those of a slice; `names`: the key."""
        table = self.models if len(names) == 2 else self.agents
        if names in table:
            (answered, *numbers), (also, *more) = table[names], sums
            added = (b if a is None else a if b is None else a + b for a, b in zip(numbers, more, strict=True))
            table[names] = [[*answered, *also], *added]
        elif table is self.models or len(table) <= AGENTS:
            table[names] = sums


def _tuples(table: dict[tuple[str, ...], list[Any]], fields: pa.StructType) -> list[dict[str, Any]]:
    return [
        {
            field.name: _fitting(value, field.type)
            for field, value in zip(fields, (*key, sorted(set(answered))[:_ANSWERS], *numbers), strict=True)
        }
        for key, (answered, *numbers) in table.items()
    ]


def _fitting(value: Any, of: pa.DataType) -> Any:
    """As its column can hold it. Senders may claim any number, and JSON has large costs without a point."""
    if value is None:
        return None
    if pa.types.is_floating(of):
        return float(value)
    return max(-_MOST, min(value, _MOST)) if pa.types.is_integer(of) else value


class RollUp:
    """Keeps the sums of a store up to date. Not safe to share between threads."""

    def __init__(self, tables: Tables, slice_rows: int = SLICE_ROWS) -> None:
        self._tables = tables
        self._slice_rows, self._least_rows = slice_rows, max(slice_rows // _FINEST, 1)
        self._step_s = 2 * _BACK_S
        """What came in so many seconds is looked for at a time: half as long after that took too long."""
        self._since_s: int | None = None
        """What came before it is in the sums; None: nobody knows."""

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Sum the hours that are due, `HOURS` at most, until `stopped`.

        Raises what the tables raise, after the other hours if that may pass. Nothing is lost by that: what was not
        summed is still due, and is summed in smaller slices the next time.
        """
        now_s, newest_s = map(int, self._tables.command(_PRESENT).split())
        if self._since_s is None:
            self._since_s = (min(newest_s, now_s) or now_s) - _BACK_S
        self._since_s = min(self._since_s, now_s - MARGIN_S)  # a clock may be set back
        hours, looked_until_s = self._due(self._since_s, now_s, stopped)
        due = len(hours)
        telemetry.HOURS_TO_SUM.set(due)
        failure: RetryableError | None = None
        for hour_s in hours:
            try:
                if not self._sum(hour_s, stopped):
                    return
            except RetryableError as error:
                failure = error
                _log.warning("an hour could not be summed now", hour=hour_s, rows=self._slice_rows, error=str(error))
                if code_of(error) in _TOO_LARGE:
                    self._slice_rows = max(self._slice_rows // 2, self._least_rows)
            else:
                due -= 1
                telemetry.HOURS_TO_SUM.set(due)
        if failure is not None:
            raise failure
        self._since_s = looked_until_s

    def _due(self, since_s: int, now_s: int, stopped: Callable[[], bool]) -> tuple[list[int], int]:
        """Hours that something came to since `since_s`, `HOURS` at most, and until when that was looked for."""
        hours: list[int] = []
        while since_s < now_s:
            if stopped():
                return hours, since_s
            until_s = since_s + self._step_s if since_s + self._step_s < now_s else _FOREVER_S
            values = {"since_s": since_s, "until_s": until_s, "now_s": now_s, "margin_s": MARGIN_S}
            try:
                found = self._tables.command(_DUE.format(**values, hours=HOURS, longest_s=LONGEST_S))
            except RetryableError as error:
                step_s = min(self._step_s, now_s - since_s)
                if code_of(error) not in _TOO_LARGE or step_s < MARGIN_S:
                    raise
                self._step_s = step_s // 2
                continue
            hours = list(dict.fromkeys((*hours, *map(int, found.split()))))
            if len(hours) >= HOURS:
                return hours[:HOURS], since_s
            since_s = until_s
        return hours, now_s - MARGIN_S

    def _sum(self, hour_s: int, stopped: Callable[[], bool]) -> bool:
        """Sum an hour; False if it was `stopped` before its end."""
        size = self._tables.command(_SIZE.format(hour_s=hour_s, longest_s=LONGEST_S))
        # The sum is of the moment before it is read: what comes meanwhile may be in no slice.
        now_s, version, rows = map(int, size.split())
        slices = max(-(-rows // self._slice_rows), 1)
        tenants: dict[str, _Sums] = {}
        by_agent = True
        for number in range(slices):
            if stopped():
                return False
            found = self._slice(hour_s, number, slices)
            for tenant, counted, of_all, *names, answered, numbers in found:
                sums = tenants.setdefault(tenant, _Sums())
                if counted:
                    sums.add(tuple(names[1:] if of_all else names), [answered, *numbers])
            cut = len(found) == _MOST_ROWS
            by_agent = by_agent and not cut
            if (cut and found[-1][_OF_ALL]) or sum(len(sums.models) for sums in tenants.values()) > _MOST_ROWS:
                _log.warning("an hour with so many names of models is not summed", hour=hour_s)
                return True
        if tenants:
            self._tables.insert("model_hour_versions", _rows(tenants, hour_s, version, now_s, by_agent=by_agent))
        return True

    def _slice(self, hour_s: int, number: int, slices: int) -> list[list[Any]]:
        first, end = (_KEYS * at // slices for at in (number, number + 1))
        text = self._tables.command(
            _SLICE.format(
                hour_s=hour_s, first=first, last=end - 1, answers=_ANSWERS, rows=_MOST_ROWS, longest_s=LONGEST_S
            )
        )
        return [orjson.loads(_ESCAPED.sub(r"\1", line)) for line in text.split("\n") if line]


def _rows(tenants: dict[str, _Sums], hour_s: int, version: int, now_s: int, *, by_agent: bool) -> pa.Table:
    rows = [
        {
            "tenant": tenant,
            "hour": hour_s,
            "models": _tuples(sums.models, _MODEL),
            "agents": _tuples(sums.agents, _AGENT) if by_agent and len(sums.agents) <= AGENTS else [],
            "version": version,
            "inserted_at": now_s,
        }
        for tenant, sums in tenants.items()
    ]
    return pa.Table.from_pylist(rows, _HOUR)
