-- Several signals of one part of the fleet over time, in steps: sums, as windows add up.
SELECT signal, toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS at, sum(n) AS trials, sum(total) AS totals
FROM windows
WHERE width_s = {width_s:UInt32} AND signal IN {signals:Array(String)}
    AND time >= {before:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({provider:String} = '' OR provider = {provider:String})
    AND ({model:String} = '' OR model = {model:String})
    AND ({tool:String} = '' OR tool = {tool:String})
GROUP BY signal, at
ORDER BY signal, at
