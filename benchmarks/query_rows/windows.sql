-- Windows of every series of 40 agents: three tools and two models each, every signal of the pages, in every window.
INSERT INTO window_versions
    (tenant, time, subject, agent, provider, model, tool, release, region, signal, n, total, squares, bucket, bucket_count,
    width_s)
SELECT
    '',
    toStartOfInterval({since:DateTime64(9, 'UTC')}, toIntervalSecond({width_s:UInt32})) + toIntervalSecond(at * {width_s:UInt32}),
    subject, concat('agent ', toString(who)), if(subject = 'model', 'openai', ''),
    if(subject = 'model', concat('model ', toString(part)), ''),
    if(subject = 'tool', concat('tool ', toString(who), '.', toString(part)), ''), '1.0', '', signal, 20,
    if(level, 20 * log(2), 1), if(level, 30, 0),
    if(level, arrayMap(b -> toInt16(10 + b), range(12)), []), if(level, arrayMap(b -> toUInt32(1 + b % 3), range(12)), []),
    {width_s:UInt32}
FROM
(
    SELECT
        arrayJoin(arrayConcat(
            arrayFlatten(arrayMap(s -> [('model', s, 0), ('model', s, 1)], ['model_error', 'model_retried',
                'model_truncated', 'model_mismatch', 'model_first_token', 'model_speed', 'model_latency'])),
            arrayFlatten(arrayMap(s -> [('tool', s, 0), ('tool', s, 1), ('tool', s, 2)], ['tool_error',
                'tool_silent_failure', 'tool_empty', 'tool_invalid', 'tool_latency', 'tool_result_size'])),
            arrayMap(s -> ('run', s, 0), ['run_failed', 'run_degraded', 'run_rescued', 'run_looped', 'run_latency',
                'run_steps', 'run_cost', 'run_traffic', 'run_spend'])
        )) AS series,
        series.1 AS subject, series.2 AS signal, series.3 AS part,
        signal IN ('model_first_token', 'model_speed', 'model_latency', 'tool_latency', 'tool_result_size', 'run_latency',
            'run_steps', 'run_cost') AS level,
        number % 40 AS who, intDiv(number, 40) AS at
    FROM numbers(40 * toUInt64({seconds:Float64} / {width_s:UInt32}))
)
