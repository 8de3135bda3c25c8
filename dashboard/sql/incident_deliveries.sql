-- Attempts to tell somebody of an incident, in order of time.
SELECT time, event, route, target, target_type, attempt, state, status, duration_ns / 1e9 AS seconds, error, next_attempt_at
FROM deliveries
WHERE has(incidents, {id:String})
ORDER BY time, target, attempt, id
LIMIT {rows:UInt32}
