-- Runs that fit, the newest, slowest or dearest first. A text is an id, or part of the run's name.
SELECT
    trace_id, start_time, agent, name, class, outcome, reported_status, duration_ns / 1e9 AS seconds, steps, tool_calls,
    input_tokens + output_tokens AS tokens, cost_usd, rules, user_id, conversation_id, release
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({class:String} = '' OR class = {class:String})
    AND ({rule:String} = '' OR has(rules, {rule:String}))
    AND ({text:String} = '' OR {text:String} IN (user_id, conversation_id, trace_id, release)
        OR positionCaseInsensitive(name, {text:String}) > 0 OR has(models, {text:String})
        OR startsWith(trace_id, lower({text:String})))
ORDER BY
    multiIf({order:String} = 'slowest', duration_ns, {order:String} = 'dearest', toInt64(ifNull(cost_usd, 0) * 1e9), 0)
        DESC,
    start_time DESC, trace_id
LIMIT {rows:UInt32}
