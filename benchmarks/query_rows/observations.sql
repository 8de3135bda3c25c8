-- One finding for twelve in a hundred of the traces.
INSERT INTO observation_versions
    (id, rule, severity, confidence, tenant, trace_id, span_id, time, service, agent, provider, model, tool, summary,
    evidence, version)
SELECT
    lower(hex(sipHash64(trace))), ['tool_error', 'silent_tool_failure', 'llm_error', 'tool_loop'][1 + luck % 4], 'warning',
    0.9, '', lower(hex(sipHash128(trace))), lower(hex(sipHash64(trace * 8 + 5))),
    {since:DateTime64(9, 'UTC')} + toIntervalMillisecond(toInt64(8000 * trace * {seconds:Float64} / {spans:UInt64})),
    concat('service ', toString(who)), concat('agent ', toString(who)), '', '', concat('tool ', toString(who), '.1'),
    'a tool failed and did not say so', '{"result": "502 Bad Gateway"}', 1
FROM
(
    SELECT number AS trace, number % 40 AS who, cityHash64(number, 1) % 100 AS luck
    FROM numbers(intDiv({begin:UInt64}, 8), intDiv({end:UInt64}, 8) - intDiv({begin:UInt64}, 8))
)
WHERE luck < 12
