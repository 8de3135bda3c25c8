-- What models cost, by who was asked. Only calls that count, so that wrappers do not double one. Calls without a known
-- price are counted for themselves. The agent of a call is that of its run.
SELECT
    provider,
    model,
    count() AS calls,
    sum(call.cost_usd) AS cost_usd,
    countIf(call.cost_usd IS NULL) AS unpriced,
    sum(input_tokens) AS input,
    sum(output_tokens) AS output,
    sum(cache_read_tokens) AS cached,
    sum(reasoning_tokens) AS reasoning,
    sumIf(call.cost_usd, failed) AS failed_usd,
    arraySort(groupUniqArrayIf(5)(answered, answered NOT IN ('', model))) AS answered
FROM model_calls AS call
WHERE counted AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR trace_key IN
    (
        SELECT trace_key
        FROM runs
        WHERE agent = {agent:String} AND start_time < {until:DateTime64(9)}
            AND start_time >= {since:DateTime64(9)} - INTERVAL 1 HOUR
    ))
GROUP BY provider, model
ORDER BY cost_usd DESC, calls DESC, model
LIMIT 200
