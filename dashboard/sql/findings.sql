-- The latest findings.
SELECT time, severity, rule, agent, tool, model, summary, confidence, trace_id
FROM observations
WHERE time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({rule:String} = '' OR rule = {rule:String})
    AND ({severity:String} = '' OR severity = {severity:String})
ORDER BY time DESC, rule, trace_id
LIMIT {rows:UInt32}
