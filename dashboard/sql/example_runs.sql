-- Runs of some agents with one of these outcomes, those first whose measure is nearest to `target` (in ratios).
SELECT
    trace_id,
    start_time AS at,
    agent AS who,
    multiIf(
        {measure:String} = 'duration', duration_ns / 1e9,
        {measure:String} = 'steps', steps + 1,
        {measure:String} = 'tool_calls', tool_calls + 1,
        {measure:String} = 'tokens', input_tokens + output_tokens,
        {measure:String} = 'cost', cost_usd,
        1
    ) AS value
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND (has({agents:Array(String)}, agent) OR has({agents:Array(String)}, service))
    AND ({release:String} = '' OR release = {release:String})
    AND has({outcomes:Array(String)}, outcome)
    AND value > 0
ORDER BY abs(log(value / {target:Float64})), at DESC, trace_id
LIMIT 1 BY trace_id
LIMIT {rows:UInt32}
