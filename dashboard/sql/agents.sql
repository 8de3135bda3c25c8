-- Agents, the sickest first.
SELECT
    agent,
    any(service) AS service,
    count() AS runs,
    countIf(outcome IN ('failed', 'degraded')) / count() AS failure_rate,
    countIf(outcome IN ('failed', 'degraded') AND reported_status != 'error') AS green,
    countIf(reported_status = 'error') / count() AS reported_rate,
    countIf(outcome = 'rescued') / count() AS rescued_rate,
    sum(input_tokens + output_tokens) AS tokens,
    sum(cost_usd) AS cost_usd,
    quantile(0.5)(duration_ns) / 1e9 AS p50_s,
    quantile(0.95)(duration_ns) / 1e9 AS p95_s,
    max(start_time) AS last_seen
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY agent
ORDER BY failure_rate DESC, runs DESC
LIMIT 200
