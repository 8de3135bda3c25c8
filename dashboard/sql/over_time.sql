-- Traces by what became of them, in buckets of `step` seconds; each trace is in one class.
SELECT
    toStartOfInterval(start_time, toIntervalSecond({step:UInt32})) AS time,
    multiIf(
        outcome IN ('failed', 'degraded') AND reported_status != 'error', 'green but failed',
        outcome IN ('failed', 'degraded') OR reported_status = 'error', 'reported error',
        outcome = 'rescued', 'rescued',
        outcome = 'incomplete', 'incomplete',
        'fine'
    ) AS class,
    count() AS traces
FROM traces
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY time, class
ORDER BY time, class
