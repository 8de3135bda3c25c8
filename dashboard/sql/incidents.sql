-- Incidents that are not over, worst first, then those that ended in the time range. An incident that is not about
-- one agent concerns every agent.
SELECT
    id, kind, severity, status, provider, model, agent, tool, release, region, opened_at, started_at, resolved_at,
    signals, runs, cost_usd, summary
FROM incidents
WHERE (status IN ('open', 'acknowledged', 'silenced') OR (status = 'resolved' AND resolved_at >= {since:DateTime64(9)}))
    AND ({agent:String} = '' OR agent IN ('', {agent:String}))
ORDER BY
    status = 'resolved', status = 'silenced', indexOf(['critical', 'warning', 'ticket'], severity),
    coalesce(resolved_at, started_at) DESC, id
LIMIT {rows:UInt32}
