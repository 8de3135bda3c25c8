-- Signals in the time range and before it, by what they are about: providers' models, tools of agents, or agents. A
-- dimension that is not asked for is "".
SELECT
    if({by_provider:Bool}, window.provider, '') AS provider,
    if({by_model:Bool}, window.model, '') AS model,
    if({by_agent:Bool}, window.agent, '') AS agent,
    if({by_tool:Bool}, window.tool, '') AS tool,
    signal,
    sumIf(n, time >= {since:DateTime64(9)}) AS trials,
    sumIf(total, time >= {since:DateTime64(9)}) AS totals,
    sumIf(n, time < {since:DateTime64(9)}) AS trials_before,
    sumIf(total, time < {since:DateTime64(9)}) AS totals_before,
    min(time) AS first_seen
FROM windows AS window
WHERE width_s = {width_s:UInt32} AND signal IN {signals:Array(String)}
    AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR window.agent = {agent:String})
GROUP BY provider, model, agent, tool, signal
HAVING trials > 0 OR trials_before > 0
ORDER BY provider, model, agent, tool, signal
LIMIT 20000
