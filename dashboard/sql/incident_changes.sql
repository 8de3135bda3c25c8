-- What changed about some agents in a time range.
SELECT id, agent, attribute, key, before, after, time, status
FROM changes
WHERE time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND has({agents:Array(String)}, agent)
ORDER BY time, agent, attribute, id
LIMIT 200
