-- Model calls by provider and model as asked for. Only spans that count, so wrappers do not double a call. Where
-- the telemetry says only what answered, that is what was asked for, without the date of its version.
SELECT
    provider,
    if(request_model = '', replaceRegexpOne(response_model, '-20\\d\\d-?\\d\\d-?\\d\\d$', ''), request_model) AS model,
    count() AS calls,
    countIf(effective_status = 'error') / count() AS error_rate,
    quantile(0.5)(duration_ns) / 1e9 AS p50_s,
    quantile(0.95)(duration_ns) / 1e9 AS p95_s,
    quantile(0.5)(time_to_first_token_ns) / 1e9 AS first_token_s,
    sumIf(output_tokens, output_tokens > 0) * 1e9 / nullIf(sumIf(duration_ns, output_tokens > 0), 0)
        AS tokens_per_s,
    sum(input_tokens) + sum(output_tokens) AS tokens,
    sum(cost_usd) AS cost_usd,
    arraySort(groupUniqArrayIf(5)(response_model, response_model NOT IN ('', model))) AS answered
FROM spans
WHERE kind = 'llm' AND counted
    AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY provider, model
ORDER BY calls DESC
LIMIT 200
