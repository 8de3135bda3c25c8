-- Agents that work within a scope, by their runs in a time range.
SELECT
    agent,
    sumIf(n, signal = 'run_traffic') AS runs,
    sumIf(total, signal = 'run_failed') AS failed,
    sumIf(total, signal = 'run_rescued') AS rescued,
    sumIf(total, signal = 'run_spend') AS spent_usd
FROM windows
WHERE width_s = {width_s:UInt32} AND signal IN ('run_traffic', 'run_failed', 'run_rescued', 'run_spend')
    AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND agent IN
    (
        SELECT agent
        FROM windows
        WHERE width_s = {width_s:UInt32} AND signal IN ('model_error', 'tool_error', 'tool_empty', 'run_traffic')
            AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
            AND ({tenant:String} = '' OR tenant = {tenant:String})
            AND ({provider:String} = '' OR provider = {provider:String})
            AND ({model:String} = '' OR model = {model:String})
            AND ({agent:String} = '' OR agent = {agent:String})
            AND ({tool:String} = '' OR tool = {tool:String})
            AND ({release:String} = '' OR release = {release:String})
            AND ({region:String} = '' OR region = {region:String})
    )
GROUP BY agent
ORDER BY runs DESC, agent
LIMIT 200
