-- What changed about some agents (all without a name), or with something (a model, a tool) by its name.
SELECT id, agent, attribute, key, before, after, time, status
FROM changes
WHERE time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
    AND ({about:String} = '' OR key = {about:String} OR position(before, {about:String}) > 0
        OR position(after, {about:String}) > 0)
ORDER BY time DESC, agent, attribute, id
LIMIT {rows:UInt32}
