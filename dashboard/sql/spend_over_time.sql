-- What runs cost over time in steps, by agent.
SELECT toStartOfInterval(start_time, toIntervalSecond({step:UInt32})) AS time, agent, sum(cost_usd) AS spent_usd
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND cost_usd IS NOT NULL
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY time, agent
ORDER BY time, agent
LIMIT 50000
