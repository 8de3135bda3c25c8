-- The figures of a time range, and of the range just before it, for comparison. "Green but failed": the sender
-- reported no error, yet the trace failed, or finished on bad ground.
SELECT
    countIf(NOT earlier) AS traces,
    countIf(NOT earlier AND bad) AS failed,
    countIf(NOT earlier AND reported) AS reported_errors,
    countIf(NOT earlier AND bad AND NOT reported) AS green,
    sumIf(input_tokens + output_tokens, NOT earlier) AS tokens,
    sumIf(ifNull(cost_usd, 0), NOT earlier) AS spent_usd,
    countIf(NOT earlier AND cost_usd IS NULL) AS unpriced,
    countIf(earlier) AS traces_before,
    countIf(earlier AND bad) AS failed_before,
    countIf(earlier AND reported) AS reported_errors_before,
    countIf(earlier AND bad AND NOT reported) AS green_before,
    sumIf(ifNull(cost_usd, 0), earlier) AS spent_usd_before
FROM
(
    SELECT
        input_tokens,
        output_tokens,
        cost_usd,
        start_time < {since:DateTime64(9)} AS earlier,
        outcome IN ('failed', 'degraded') AS bad,
        reported_status = 'error' AS reported
    FROM runs
    WHERE start_time >= {before:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
)
