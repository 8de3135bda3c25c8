-- What was found in one trace.
SELECT span_id, time, severity, rule, confidence, summary, evidence
FROM observations
WHERE trace_id = {trace_id:String}
ORDER BY multiIf(severity = 'critical', 0, severity = 'warning', 1, 2), time, rule
LIMIT 500
