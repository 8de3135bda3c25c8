-- The providers, models or tools to choose from.
SELECT DISTINCT multiIf({dimension:String} = 'provider', provider, {dimension:String} = 'model', model, tool) AS name
FROM windows
WHERE width_s = {width_s:UInt32} AND signal IN ('model_error', 'tool_error')
    AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
    AND name != ''
ORDER BY name
LIMIT 500
