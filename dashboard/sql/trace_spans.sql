-- The spans of one trace, in order of time. Content is left out: it is read span by span.
SELECT
    span_id, parent_span_id, name, kind, convention, service, agent, tool, provider, request_model, response_model,
    start_time, duration_ns, reported_status, effective_status, effective_reason, status_message, error_type,
    finish_reason, input_tokens, output_tokens, time_to_first_token_ns, cost_usd, counted
FROM spans
WHERE trace_id = {trace_id:String}
ORDER BY start_time, duration_ns DESC, span_id
LIMIT 2000
