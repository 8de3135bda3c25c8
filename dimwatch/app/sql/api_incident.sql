SELECT
    id, tenant, kind, severity, status, provider, model, agent, tool, release, region,
    toUnixTimestamp(opened_at) AS opened_s, toUnixTimestamp(started_at) AS started_s,
    toUnixTimestamp(resolved_at) AS resolved_s, runs, cost_usd, summary, version, signals, causes
FROM incidents
WHERE id = {id:String}
LIMIT 1
