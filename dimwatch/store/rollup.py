"""Sums that the dashboard reads instead of many rows: what models cost, by the hour.

An hour is summed when it has been over for a while, and again whenever calls of it came since: always all of it, and
from rows that are seen once, so that the newest version is right however often calls are written. Until then, and where
nobody has summed, the dashboard adds up the calls themselves.
"""

from __future__ import annotations

from typing import Final

from dimwatch.store.migrate import Execute

MARGIN_S: Final = 600
"""An hour is summed so long after its end. An insert may take as long from its `inserted_at` until it can be read."""
_FIRST_S: Final = 2 * 3600
"""Where nothing was summed yet, hours that calls came to in so long a time are: not all of a large store at once."""

_MODEL_HOURS: Final = f"""
INSERT INTO model_hour_versions (tenant, hour, models, version)
WITH toStartOfHour(now('UTC') - {MARGIN_S}) AS until
SELECT
    tenant, hour,
    groupArray((
        provider, model, answered, calls, unpriced, cost_usd, failed_usd, input_tokens, output_tokens,
        cache_read_tokens, reasoning_tokens
    )),
    toUnixTimestamp64Nano(now64(9))
FROM
(
    SELECT
        call.tenant AS tenant, toStartOfHour(start_time) AS hour, call.provider AS provider, call.model AS model,
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
    WHERE counted AND start_time < until AND toStartOfHour(start_time) GLOBAL IN
    (
        SELECT DISTINCT toStartOfHour(start_time)
        FROM model_call_versions
        WHERE start_time < until AND inserted_at >=
        (
            SELECT if(
                count() = 0,
                now('UTC') - {_FIRST_S},
                toDateTime(intDiv(max(version), 1000000000), 'UTC') - {MARGIN_S}
            )
            FROM model_hour_versions
        )
    )
    GROUP BY tenant, hour, provider, model
)
GROUP BY tenant, hour
SETTINGS max_threads = 1
"""


def roll_up(execute: Execute) -> None:
    """Bring the sums up to date. Raises what `execute` raises; nothing is lost by that, the next time does it all."""
    execute(_MODEL_HOURS)
