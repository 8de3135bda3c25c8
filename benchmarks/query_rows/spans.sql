-- Spans number `begin` until before `end`: eight a trace, evenly over the time, in order of it.
INSERT INTO span_versions
    (tenant, trace_id, span_id, parent_span_id, name, kind, convention, service, service_version, start_time, duration_ns,
    received_time, reported_status, effective_status, effective_reason, agent, conversation_id, user_id, provider,
    request_model, response_model, finish_reason, input_tokens, output_tokens, cache_read_tokens,
    time_to_first_token_ns, cost_usd, counted, tool, tool_call_id, tool_arguments, tool_result, input_messages,
    output_messages, version)
SELECT
    '',
    lower(hex(sipHash128(intDiv(number, 8)))),
    lower(hex(sipHash64(number))),
    if(place = 0, '', lower(hex(sipHash64(number - place)))),
    multiIf(kind = 'llm', 'chat', kind = 'tool', 'execute_tool', 'invoke_agent'),
    multiIf(place = 0, 'agent', place < 5, 'llm', 'tool') AS kind,
    'otel_genai',
    concat('service ', toString(who)),
    concat('1.', toString(intDiv(number, 3000000))),
    {since:DateTime64(9, 'UTC')} + toIntervalMillisecond(toInt64(number * 1000 * {seconds:Float64} / {spans:UInt64})),
    100000000 + cityHash64(number) % 4000000000,
    {since:DateTime64(9, 'UTC')} + toIntervalMillisecond(toInt64(number * 1000 * {seconds:Float64} / {spans:UInt64})),
    if(cityHash64(number, 1) % 100 = 0, 'error', 'unset'),
    if(cityHash64(number, 1) % 100 < 3, 'error', 'ok'),
    if(cityHash64(number, 1) % 100 < 3, 'silent_tool_failure', ''),
    if(place = 0, concat('agent ', toString(who)), ''),
    concat('conversation ', toString(intDiv(number, 24))),
    if(place = 0, concat('user ', toString(cityHash64(intDiv(number, 24), 2) % 20000)), ''),
    if(kind = 'llm', ['openai', 'anthropic', 'gcp.gemini', 'aws.bedrock'][1 + who % 4], ''),
    if(kind = 'llm', concat('model ', toString(who % 8)), '') AS model,
    model,
    if(kind = 'llm', 'stop', ''),
    if(kind = 'llm', 500 + number % 3000, NULL),
    if(kind = 'llm', 50 + number % 400, NULL),
    if(kind = 'llm', number % 400, NULL),
    if(kind = 'llm', 200000000 + number % 900000000, NULL),
    if(kind = 'llm', 0.0001 * (1 + number % 100), NULL),
    kind = 'llm',
    if(kind = 'tool', concat('tool ', toString(who), '.', toString(place % 3)), ''),
    if(kind = 'tool', toString(number), ''),
    if(kind = 'tool', concat('{"order_id":"O-', toString(cityHash64(number, 3) % 500000), '","limit":3,"host":"h',
        toString(place), '.example"}'), NULL),
    if(kind = 'tool', concat('{"items":[', repeat('{"name":"something","price":12},', 10), toString(number), ']}'), NULL),
    if(kind = 'llm', concat('[{"role":"user","content":"', repeat('please look at this ', 15), toString(number), '"}]'), NULL),
    if(kind = 'llm', concat('[{"role":"assistant","content":"done with ', toString(number), '"}]'), NULL),
    1
FROM
(
    SELECT number, number % 8 AS place, intDiv(number, 8) % 40 AS who
    FROM numbers({begin:UInt64}, {end:UInt64} - {begin:UInt64})
)
