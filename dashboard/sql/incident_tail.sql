-- What one of twenty measurements of a signal exceeds, over time in steps: the middle of a logarithmic bucket of 4%.
SELECT
    toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS at,
    sum(measured) AS trials,
    pow(1.04, quantileExactWeighted(0.95)(place, measured) - 0.5) AS tail
FROM windows
ARRAY JOIN bucket AS place, bucket_count AS measured
WHERE width_s = {width_s:UInt32} AND signal = {signal:String}
    AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND (empty({agents:Array(String)}) OR has({agents:Array(String)}, agent))
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND ({provider:String} = '' OR provider = {provider:String})
    AND ({model:String} = '' OR model = {model:String})
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({tool:String} = '' OR tool = {tool:String})
    AND ({release:String} = '' OR release = {release:String})
    AND ({region:String} = '' OR region = {region:String})
GROUP BY at
ORDER BY at
