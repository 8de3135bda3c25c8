-- Tools by how often they fail, say so, or come back empty. Empty results are known from findings, since what
-- counts as empty is decided there.
WITH empties AS (
    SELECT service, tool, uniq(trace_id, span_id) AS calls
    FROM observations
    WHERE rule = 'empty_tool_result' AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
    GROUP BY service, tool
)
SELECT
    spans.tool AS tool,
    spans.service AS service,
    count() AS calls,
    countIf(spans.effective_status = 'error') / count() AS error_rate,
    countIf(spans.reported_status = 'error') / count() AS reported_rate,
    least(any(empties.calls) / count(), 1) AS empty_rate,
    quantile(0.5)(spans.duration_ns) / 1e9 AS p50_s,
    quantile(0.95)(spans.duration_ns) / 1e9 AS p95_s
FROM spans
LEFT JOIN empties ON empties.service = spans.service AND empties.tool = spans.tool
WHERE spans.kind = 'tool' AND spans.tool != ''
    AND spans.start_time >= {since:DateTime64(9)} AND spans.start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR spans.agent = {agent:String})
GROUP BY tool, service
ORDER BY error_rate + empty_rate DESC, calls DESC
LIMIT 200
