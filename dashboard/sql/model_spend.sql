-- What models cost, by who was asked. Only calls that count, so that wrappers do not double one. Calls without a known
-- price are counted for themselves. Whole hours that were summed already are not read again. The calls of an agent are
-- those of its runs; an hour that was summed without agents is read again for one of them.
WITH
(
    SELECT groupUniqArray(hour)
    FROM model_hours
    WHERE hour >= {since:DateTime64(9)} AND hour <= {until:DateTime64(9)} - INTERVAL 1 HOUR
        AND ({agent:String} = '' OR notEmpty(agents) OR empty(models))
) AS summed
SELECT
    provider,
    model,
    sum(part.calls) AS calls,
    sum(part.cost_usd) AS cost_usd,
    sum(part.unpriced) AS unpriced,
    sum(part.input_tokens) AS input,
    sum(part.output_tokens) AS output,
    sum(part.cache_read_tokens) AS cached,
    sum(part.reasoning_tokens) AS reasoning,
    sum(part.failed_usd) AS failed_usd,
    arraySort(groupUniqArrayArray(5)(part.answered)) AS answered
FROM
(
    SELECT
        told.provider AS provider, told.model AS model, told.answered AS answered, told.calls AS calls,
        told.unpriced AS unpriced, told.cost_usd AS cost_usd, told.failed_usd AS failed_usd,
        told.input_tokens AS input_tokens, told.output_tokens AS output_tokens,
        told.cache_read_tokens AS cache_read_tokens, told.reasoning_tokens AS reasoning_tokens
    FROM model_hours
    ARRAY JOIN models AS told
    WHERE {agent:String} = '' AND has(summed, hour)
    UNION ALL
    SELECT
        told.provider, told.model, told.answered, told.calls, told.unpriced, told.cost_usd, told.failed_usd,
        told.input_tokens, told.output_tokens, told.cache_read_tokens, told.reasoning_tokens
    FROM model_hours
    ARRAY JOIN agents AS told
    WHERE told.agent = {agent:String} AND {agent:String} != '' AND has(summed, hour)
    UNION ALL
    SELECT
        call.provider, call.model,
        groupUniqArrayIf(5)(call.answered, call.answered NOT IN ('', call.model)),
        count(), countIf(call.cost_usd IS NULL), sum(call.cost_usd), sumIf(call.cost_usd, failed),
        sum(call.input_tokens), sum(call.output_tokens), sum(call.cache_read_tokens), sum(call.reasoning_tokens)
    FROM model_calls AS call
    WHERE counted AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND NOT has(summed, toStartOfHour(start_time))
        AND ({agent:String} = '' OR trace_key IN
        (
            SELECT trace_key
            FROM runs
            WHERE agent = {agent:String} AND start_time < {until:DateTime64(9)}
                AND start_time >= {since:DateTime64(9)} - INTERVAL 1 HOUR
        ))
    GROUP BY provider, model
) AS part
GROUP BY provider, model
ORDER BY cost_usd DESC, calls DESC, model
LIMIT 200
