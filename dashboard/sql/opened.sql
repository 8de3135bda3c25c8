-- Incidents that opened in a time range, whatever became of them.
SELECT id, kind, severity, status, provider, model, agent, tool, release, region, opened_at, started_at, resolved_at, summary
FROM incidents
WHERE opened_at >= {since:DateTime64(9)} AND opened_at < {until:DateTime64(9)}
ORDER BY opened_at, id
LIMIT {rows:UInt32}
