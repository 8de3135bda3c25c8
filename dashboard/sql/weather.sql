-- Providers' models in the time range, and in the one just before it. Windows add up: ratios are sums of hits over
-- sums of trials, levels are geometric means.
SELECT
    provider,
    model,
    sumIf(n, signal = 'model_error' AND NOT earlier) AS calls,
    sumIf(n, signal = 'model_error' AND earlier) AS calls_before,
    exp(sumIf(total, signal = 'model_speed' AND NOT earlier)
        / nullIf(sumIf(n, signal = 'model_speed' AND NOT earlier), 0)) AS speed,
    exp(sumIf(total, signal = 'model_speed' AND earlier)
        / nullIf(sumIf(n, signal = 'model_speed' AND earlier), 0)) AS speed_before,
    exp(sumIf(total, signal = 'model_first_token' AND NOT earlier)
        / nullIf(sumIf(n, signal = 'model_first_token' AND NOT earlier), 0)) AS first_token,
    exp(sumIf(total, signal = 'model_first_token' AND earlier)
        / nullIf(sumIf(n, signal = 'model_first_token' AND earlier), 0)) AS first_token_before,
    sumIf(total, signal = 'model_error' AND NOT earlier) / nullIf(calls, 0) AS error,
    sumIf(total, signal = 'model_error' AND earlier) / nullIf(calls_before, 0) AS error_before,
    sumIf(total, signal = 'model_retried' AND NOT earlier)
        / nullIf(sumIf(n, signal = 'model_retried' AND NOT earlier), 0) AS retried,
    sumIf(total, signal = 'model_retried' AND earlier)
        / nullIf(sumIf(n, signal = 'model_retried' AND earlier), 0) AS retried_before,
    sumIf(total, signal = 'model_truncated' AND NOT earlier)
        / nullIf(sumIf(n, signal = 'model_truncated' AND NOT earlier), 0) AS truncated,
    sumIf(total, signal = 'model_truncated' AND earlier)
        / nullIf(sumIf(n, signal = 'model_truncated' AND earlier), 0) AS truncated_before
FROM
(
    SELECT provider, model, signal, n, total, time < {since:DateTime64(9)} AS earlier
    FROM windows
    WHERE width_s = {width_s:UInt32}
        AND signal IN ('model_error', 'model_speed', 'model_first_token', 'model_retried', 'model_truncated')
        AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
)
GROUP BY provider, model
HAVING calls > 0 OR calls_before > 0
ORDER BY provider, calls DESC, model
LIMIT 200
