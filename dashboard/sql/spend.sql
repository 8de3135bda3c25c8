-- What runs cost in the time range and before it, as a whole, or by agent or user. A run of unknown price costs nothing
-- here and is counted.
SELECT
    multiIf({dimension:String} = 'agent', run.agent, {dimension:String} = 'user', user_id, '') AS name,
    countIf(now) AS runs,
    countIf(now AND good) AS good_runs,
    sumIf(cost, now) AS spent_usd,
    sumIf(cost, now AND bad) AS vain_usd,
    sumIf(input_tokens, now) AS input,
    sumIf(output_tokens, now) AS output,
    sumIf(reasoning_tokens, now) AS reasoning,
    countIf(now AND cost_usd IS NULL) AS unpriced,
    countIf(NOT now AND good) AS good_runs_before,
    sumIf(cost, NOT now) AS spent_usd_before,
    min(start_time) AS first_seen
FROM
(
    SELECT
        agent, user_id, input_tokens, output_tokens, reasoning_tokens, cost_usd, start_time, ifNull(cost_usd, 0) AS cost,
        start_time >= {since:DateTime64(9)} AS now,
        outcome IN ('ok', 'rescued') AS good,
        outcome IN ('failed', 'degraded') AS bad
    FROM runs
    WHERE start_time >= {before:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
) AS run
GROUP BY name
HAVING runs > 0 OR {dimension:String} = ''
ORDER BY spent_usd DESC, runs DESC, name
LIMIT {rows:UInt32}
