-- What was said in some traces: what the first model call was asked, and what the last one answered.
SELECT
    trace_id,
    argMinIf(input_messages, start_time, input_messages IS NOT NULL) AS asked,
    argMaxIf(output_messages, start_time + toIntervalNanosecond(duration_ns), output_messages IS NOT NULL) AS answered
FROM spans
WHERE trace_id IN {trace_ids:Array(String)} AND kind IN ('llm', 'agent')
    AND start_time >= {since:DateTime64(9)} - INTERVAL 4 DAY AND start_time < {since:DateTime64(9)} + INTERVAL 4 DAY
GROUP BY trace_id
