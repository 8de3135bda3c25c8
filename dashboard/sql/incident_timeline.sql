-- One signal of a scope over time, in steps: sums, as windows add up.
SELECT toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS at, sum(n) AS trials, sum(total) AS totals
FROM windows
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
