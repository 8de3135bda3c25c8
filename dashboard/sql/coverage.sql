-- What the telemetry of each service carries, as shares of the spans that could carry it: what is missing can
-- not be judged.
SELECT
    service,
    arrayStringConcat(arraySort(groupUniqArrayIf(convention, convention != '')), ', ') AS conventions,
    count() AS spans,
    countIf(kind = 'llm' AND counted AND input_tokens IS NOT NULL) / nullIf(countIf(kind = 'llm' AND counted), 0)
        AS tokens,
    countIf(kind = 'llm' AND counted AND finish_reason != '') / nullIf(countIf(kind = 'llm' AND counted), 0)
        AS finish,
    countIf(kind = 'llm' AND counted AND input_messages IS NOT NULL) / nullIf(countIf(kind = 'llm' AND counted), 0)
        AS messages,
    countIf(kind = 'llm' AND counted AND tool_definitions IS NOT NULL)
        / nullIf(countIf(kind = 'llm' AND counted), 0) AS tools_offered,
    countIf(kind = 'tool' AND (tool_result IS NOT NULL OR reported_status = 'error'))
        / nullIf(countIf(kind = 'tool'), 0) AS results,
    countIf(kind = 'llm' AND counted AND time_to_first_token_ns IS NOT NULL)
        / nullIf(countIf(kind = 'llm' AND counted), 0) AS first_token,
    countIf(conversation_id != '') / count() AS conversation
FROM spans
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY service
ORDER BY spans DESC
LIMIT 200
