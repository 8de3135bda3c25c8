-- Measurements in the time range and before it, by what they are about, in logarithmic buckets of 4%. Histograms are added
-- up before they are taken apart: that is a tenth of the rows.
SELECT provider, model, agent, tool, signal, place, sumIf(measured, lately) AS now, sumIf(measured, NOT lately) AS before
FROM
(
    SELECT
        if({by_provider:Bool}, window.provider, '') AS provider,
        if({by_model:Bool}, window.model, '') AS model,
        if({by_agent:Bool}, window.agent, '') AS agent,
        if({by_tool:Bool}, window.tool, '') AS tool,
        signal,
        time >= {since:DateTime64(9)} AS lately,
        sumMap(bucket, bucket_count) AS histogram
    FROM windows AS window
    WHERE width_s = {width_s:UInt32} AND signal IN {signals:Array(String)}
        AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR window.agent = {agent:String})
        AND ({provider:String} = '' OR window.provider = {provider:String})
        AND ({model:String} = '' OR window.model = {model:String})
        AND ({tool:String} = '' OR window.tool = {tool:String})
    GROUP BY provider, model, agent, tool, signal, lately
)
ARRAY JOIN histogram.1 AS place, histogram.2 AS measured
GROUP BY provider, model, agent, tool, signal, place
ORDER BY provider, model, agent, tool, signal, place
LIMIT 100000
