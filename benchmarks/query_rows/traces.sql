-- The traces of the same spans.
INSERT INTO trace_versions
    (tenant, trace_id, run_id, name, service, service_version, agent, conversation_id, user_id, start_time, duration_ns,
    reported_status, effective_status, outcome, complete, spans, steps, tool_calls, models, input_tokens, output_tokens,
    reasoning_tokens, cost_usd, rules, version)
SELECT
    '', lower(hex(sipHash128(trace))), lower(hex(sipHash128(trace))), 'invoke_agent', concat('service ', toString(who)),
    concat('1.', toString(intDiv(trace, 375000))), concat('agent ', toString(who)),
    concat('conversation ', toString(intDiv(trace, 3))), concat('user ', toString(cityHash64(intDiv(trace, 3), 2) % 20000)),
    {since:DateTime64(9, 'UTC')} + toIntervalMillisecond(toInt64(8000 * trace * {seconds:Float64} / {spans:UInt64})),
    1000000000 + cityHash64(trace) % 20000000000, if(luck < 2, 'error', 'unset'), if(luck < 10, 'error', 'ok'),
    multiIf(luck < 7, 'failed', luck < 10, 'degraded', luck < 15, 'rescued', 'ok'), true, 8, 4, 3,
    [concat('model ', toString(who % 8))], 8000 + trace % 5000, 900 + trace % 700, trace % 90, 0.001 * (1 + trace % 90),
    if(luck < 12, [['tool_error', 'silent_tool_failure', 'llm_error', 'tool_loop'][1 + luck % 4]], []), 1
FROM
(
    SELECT number AS trace, number % 40 AS who, cityHash64(number, 1) % 100 AS luck
    FROM numbers(intDiv({begin:UInt64}, 8), intDiv({end:UInt64}, 8) - intDiv({begin:UInt64}, 8))
)
