-- What each agent has sent in the last {seconds:UInt32} seconds of event time, and how much of it could be judged.
SELECT
    multiIf(s.agent != '', s.agent, t.agent != '', t.agent, s.service) AS who,
    uniqExact(s.trace_id) AS traces,
    count() AS spans,
    countIf(s.kind = 'tool') AS tool_spans,
    countIf(s.kind = 'tool' AND isNotNull(s.tool_result)) AS tool_result,
    countIf(s.kind = 'tool' AND isNotNull(s.tool_arguments)) AS tool_arguments,
    countIf(s.kind = 'llm' AND s.counted) AS llm_spans,
    countIf(s.kind = 'llm' AND s.counted AND s.finish_reason NOT IN ('', 'unknown')) AS finish_reason,
    countIf(s.kind = 'llm' AND s.counted AND isNotNull(s.output_tokens)) AS output_tokens,
    countIf(s.kind = 'llm' AND s.counted AND isNotNull(s.input_messages)) AS input_messages,
    countIf(s.kind = 'llm' AND s.counted AND isNotNull(s.output_messages)) AS output_messages,
    countIf(s.kind = 'llm' AND s.counted AND s.request_model != '') AS request_model,
    countIf(s.kind = 'llm' AND s.counted AND s.response_model != '') AS response_model,
    countIf(s.kind = 'llm' AND s.counted AND isNotNull(s.tool_definitions)) AS tool_definitions
FROM
(
    SELECT *
    FROM spans
    WHERE start_time >= now64(9, 'UTC') - toIntervalSecond({seconds:UInt32})
) AS s
INNER JOIN
(
    -- Traces that have been judged: of an open one the agent is not known yet. It may have begun long before.
    SELECT tenant, trace_id, agent
    FROM traces
    WHERE start_time >= now64(9, 'UTC') - toIntervalSecond({seconds:UInt32}) - toIntervalDay(1)
) AS t USING (tenant, trace_id)
GROUP BY who
ORDER BY spans DESC, who
LIMIT 200
