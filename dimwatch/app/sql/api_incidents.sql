SELECT
    id, tenant, kind, severity, status, provider, model, agent, tool, release, region,
    toUnixTimestamp(opened_at) AS opened_s, toUnixTimestamp(started_at) AS started_s,
    toUnixTimestamp(resolved_at) AS resolved_s, runs, cost_usd, summary, version
FROM incidents
WHERE (empty({status:Array(String)}) OR has({status:Array(String)}, status))
    AND (empty({severity:Array(String)}) OR has({severity:Array(String)}, severity))
    AND ({kind:String} = '' OR kind = {kind:String})
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND ({provider:String} = '' OR provider = {provider:String})
    AND ({model:String} = '' OR model = {model:String})
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({tool:String} = '' OR tool = {tool:String})
    AND toUnixTimestamp(opened_at) >= {since:Int64}
    AND toUnixTimestamp(opened_at) < {until:Int64}
    AND ({before_id:String} = '' OR (toUnixTimestamp(opened_at), id) < ({before:Int64}, {before_id:String}))
ORDER BY opened_s DESC, id DESC
LIMIT {rows:UInt32}
