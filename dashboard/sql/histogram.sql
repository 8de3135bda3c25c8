-- Measurements in the time range and before it, by what they are about, in logarithmic buckets of 4%.
SELECT
    if({by_provider:Bool}, window.provider, '') AS provider,
    if({by_model:Bool}, window.model, '') AS model,
    if({by_agent:Bool}, window.agent, '') AS agent,
    if({by_tool:Bool}, window.tool, '') AS tool,
    signal,
    place,
    sumIf(measured, time >= {since:DateTime64(9)}) AS now,
    sumIf(measured, time < {since:DateTime64(9)}) AS before
FROM windows AS window
ARRAY JOIN bucket AS place, bucket_count AS measured
WHERE width_s = {width_s:UInt32} AND signal IN {signals:Array(String)}
    AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR window.agent = {agent:String})
    AND ({provider:String} = '' OR window.provider = {provider:String})
    AND ({model:String} = '' OR window.model = {model:String})
    AND ({tool:String} = '' OR window.tool = {tool:String})
GROUP BY provider, model, agent, tool, signal, place
ORDER BY provider, model, agent, tool, signal, place
LIMIT 100000
