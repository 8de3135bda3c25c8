-- Traces with a finding of a rule within a scope, the newest first, each once.
SELECT trace_id, max(time) AS at, any(agent) AS who, any(summary) AS said
FROM observations
WHERE rule = {rule:String} AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND ({provider:String} = '' OR provider = {provider:String})
    AND ({model:String} = '' OR model = {model:String}
        OR replaceRegexpOne(model, '-20\\d\\d-?\\d\\d-?\\d\\d$', '') = {model:String})
    AND ({agent:String} = '' OR {agent:String} IN (agent, service))
    AND ({tool:String} = '' OR tool = {tool:String})
    AND ({release:String} = '' OR service_version = {release:String})
GROUP BY trace_id
ORDER BY at DESC, trace_id
LIMIT {rows:UInt32}
