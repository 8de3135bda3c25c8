-- Calls of a kind within a scope that did not fail, those first whose measure is nearest to `target` (in ratios), each
-- trace once. An agent may be named by its trace alone.
SELECT trace_id, at, value
FROM
(
    SELECT
        trace_id,
        start_time AS at,
        multiIf(
            {measure:String} = 'duration', duration_ns / 1e9,
            {measure:String} = 'first_token', time_to_first_token_ns / 1e9,
            {measure:String} = 'speed',
                output_tokens * 1e9 / nullIf(duration_ns - ifNull(time_to_first_token_ns, 0), 0),
            {measure:String} = 'output_tokens', output_tokens,
            {measure:String} = 'input_tokens', input_tokens,
            {measure:String} = 'reasoning_tokens', reasoning_tokens + 1,
            {measure:String} = 'result_size', length(tool_result) + 1,
            1
        ) AS value
    FROM spans
    WHERE kind = {kind:String} AND (kind != 'llm' OR counted) AND effective_status != 'error'
        AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({provider:String} = '' OR provider = {provider:String})
        AND ({model:String} = '' OR {model:String} IN
            (request_model, replaceRegexpOne(response_model, '-20\\d\\d-?\\d\\d-?\\d\\d$', '')))
        AND ({tool:String} = '' OR tool = {tool:String})
        AND ({release:String} = '' OR service_version = {release:String})
        AND ({agent:String} = '' OR {agent:String} IN (agent, service) OR trace_id IN
        (
            SELECT trace_id
            FROM runs
            WHERE agent = {agent:String} AND start_time < {until:DateTime64(9)}
                AND start_time >= {since:DateTime64(9)} - INTERVAL 1 HOUR
        ))
)
WHERE value > 0
ORDER BY abs(log(value / {target:Float64})), at DESC, trace_id
LIMIT 1 BY trace_id
LIMIT {rows:UInt32}
