"""Sums that the dashboard reads instead of many rows: what models cost, by the hour, and of that each agent.

An hour is summed when it has been over for a while, and again whenever calls of it, or runs that they may be of, came
since: always all of it, and from rows that are seen once, so that the newest version is right however often calls are
written. Until then, and where nobody has summed, the dashboard adds up the calls themselves.

Each hour is a statement of its own, so that none takes long and what was summed stays when another fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dimwatch.errors import RetryableError
from dimwatch.store.engine import quote_string
from dimwatch.store.migrate import Execute

MARGIN_S: Final = 600
"""An hour is summed so long after its end. An insert may take as long from its `inserted_at` until it can be read."""
HOURS: Final = 24
"""So many are summed at a time, those first that were never, then those that were longest ago."""
LONGEST_S: Final = 10
"""A statement that takes longer is given up. Well below the patience of clients and of who waits for the end."""
AGENTS: Final = 20_000
"""Of an hour with more pairs of an agent and a model there are no sums by agent: somebody makes up names."""
_BACK_S: Final = 24 * 3600
"""Where nobody knows what the last run left undone, calls are looked at that came so long before the newest sum."""

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
        WHERE inserted_at >= toDateTime({since_s}, 'UTC')
        UNION ALL
        SELECT tenant, arrayJoin([toStartOfHour(start_time), toStartOfHour(start_time) + 3600]) AS hour, inserted_at
        FROM run_versions
        WHERE inserted_at >= toDateTime({since_s}, 'UTC')
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

_SUM: Final = """
INSERT INTO model_hour_versions (tenant, hour, models, agents, version, inserted_at)
SETTINGS {settings}
SELECT
    tenant, hour,
    groupArrayIf(
        (
            provider, model, answered, calls, unpriced, cost_usd, failed_usd, input_tokens, output_tokens,
            cache_read_tokens, reasoning_tokens
        ),
        counted AND of_all
    ),
    if(countIf(counted AND NOT of_all) > {agents}, [], groupArrayIf(
        (
            agent, provider, model, answered, calls, unpriced, cost_usd, failed_usd, input_tokens, output_tokens,
            cache_read_tokens, reasoning_tokens
        ),
        counted AND NOT of_all AND agent != ''
    )),
    greatest(
        toUnixTimestamp64Nano(now64(9)),
        (SELECT max(version) + 1 FROM model_hour_versions WHERE hour = toDateTime({hour_s}, 'UTC'))
    ),
    now('UTC')
FROM
(
    SELECT
        call.tenant AS tenant, toStartOfHour(start_time) AS hour, call.provider AS provider, call.model AS model,
        run.agent AS agent, call.counted AS counted,
        grouping(run.agent) = 1 AS of_all,
        arraySort(groupUniqArrayIf(5)(call.answered, call.answered NOT IN ('', call.model))) AS answered,
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
        GROUP BY tenant, trace_key
    ) AS run ON run.trace_key = call.trace_key AND run.tenant = call.tenant
    WHERE toStartOfHour(start_time) = toDateTime({hour_s}, 'UTC')
    GROUP BY GROUPING SETS
    (
        (tenant, hour, provider, model, counted),
        (tenant, hour, provider, model, counted, agent)
    )
)
GROUP BY tenant, hour
"""
"""Calls that do not count are read, too: an hour that has no others any more gets an empty sum, not the old one."""


class RollUp:
    """Keeps the sums of a store up to date. Not safe to share between threads."""

    def __init__(self, execute: Execute, settings: Mapping[str, str]) -> None:
        """`settings`: those of an insert into this store."""
        self._execute = execute
        limits = {**settings, "max_threads": "1", "max_execution_time": str(LONGEST_S)}
        self._settings = ", ".join(f"{name} = {quote_string(value)}" for name, value in limits.items())
        self._since_s: int | None = None
        """What came before it is in the sums; None: nobody knows."""

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Sum the hours that are due, `HOURS` at most, until `stopped`.

        Raises what `execute` raises, after the other hours if that may pass. Nothing is lost by that: what was not
        summed is still due.
        """
        now_s, newest_s = map(int, self._execute(_PRESENT).split())
        if self._since_s is None:
            self._since_s = (min(newest_s, now_s) or now_s) - _BACK_S
        self._since_s = min(self._since_s, now_s - MARGIN_S)  # a clock may be set back
        hours = self._execute(
            _DUE.format(now_s=now_s, since_s=self._since_s, margin_s=MARGIN_S, hours=HOURS, longest_s=LONGEST_S)
        ).split()
        failure: RetryableError | None = None
        for hour_s in hours:
            if stopped():
                return
            try:
                self._execute(_SUM.format(hour_s=int(hour_s), agents=AGENTS, settings=self._settings))
            except RetryableError as error:
                failure = error
        if failure is not None:
            raise failure
        if len(hours) < HOURS:
            self._since_s = now_s - MARGIN_S
