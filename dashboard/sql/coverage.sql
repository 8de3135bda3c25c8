-- What the telemetry of each agent carries, by counts of the spans that could carry it: what is missing can not be
-- judged. The first columns are those of `dimwatch status`.
SELECT
    multiIf(span.agent != '', span.agent, run.agent != '', run.agent, span.service) AS who,
    uniqExact(span.trace_key) AS traces,
    count() AS spans,
    countIf(kind = 'tool') AS tool_spans,
    countIf(kind = 'tool' AND has_result) AS tool_result,
    countIf(kind = 'tool' AND has_arguments) AS tool_arguments,
    countIf(kind = 'llm' AND counted) AS llm_spans,
    countIf(kind = 'llm' AND counted AND finish_reason NOT IN ('', 'unknown')) AS finish_reason,
    countIf(kind = 'llm' AND counted AND has_output_tokens) AS output_tokens,
    countIf(kind = 'llm' AND counted AND has_input) AS input_messages,
    countIf(kind = 'llm' AND counted AND has_output) AS output_messages,
    countIf(kind = 'llm' AND counted AND has_request_model) AS request_model,
    countIf(kind = 'llm' AND counted AND has_response_model) AS response_model,
    countIf(kind = 'llm' AND counted AND has_definitions) AS tool_definitions,
    countIf(kind = 'llm' AND counted AND has_first_token) AS first_token,
    countIf(has_conversation) AS conversation,
    arrayStringConcat(arraySort(groupUniqArrayIf(convention, convention != '')), ', ') AS conventions
FROM
(
    SELECT
        cityHash64(trace_id) AS trace_key, agent, service, kind, convention, counted, finish_reason,
        NOT tool_result.null AS has_result, NOT tool_arguments.null AS has_arguments,
        NOT output_tokens.null AS has_output_tokens, NOT input_messages.null AS has_input,
        NOT output_messages.null AS has_output, request_model != '' AS has_request_model,
        response_model != '' AS has_response_model, NOT tool_definitions.null AS has_definitions,
        NOT time_to_first_token_ns.null AS has_first_token, conversation_id != '' AS has_conversation
    FROM span_versions FINAL -- not the view: through it, whole payloads would be read to see that they are there
    WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
) AS span
INNER JOIN
(
    -- Traces that have been judged: of an open one the agent is not known yet. It may have begun before.
    SELECT trace_key, agent
    FROM runs
    WHERE start_time >= {since:DateTime64(9)} - INTERVAL 6 HOUR AND start_time < {until:DateTime64(9)}
) AS run USING (trace_key)
WHERE {agent:String} = '' OR {agent:String} IN (span.agent, run.agent)
GROUP BY who
ORDER BY spans DESC, who
LIMIT 200
