-- The runs of one conversation, in order of time. Conversations are found by an index, and are days old at most.
SELECT trace_id, start_time, agent, class, outcome, duration_ns / 1e9 AS seconds, cost_usd, rules
FROM runs
WHERE conversation_id = {id:String}
    AND start_time >= {since:DateTime64(9)} - INTERVAL 3 DAY AND start_time < {since:DateTime64(9)} + INTERVAL 3 DAY
ORDER BY start_time, trace_id
LIMIT {rows:UInt32}
