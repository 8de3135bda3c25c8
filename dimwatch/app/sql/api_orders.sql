SELECT
    id, toUnixTimestamp(time) AS at_s, by, action, incident, scope, toUnixTimestamp(until) AS until_s, silence, labels,
    note, outcome
FROM orders
WHERE ({incident:String} = '' OR incident = {incident:String}) AND ({id:String} = '' OR id = {id:String})
ORDER BY time DESC, version DESC, id
LIMIT 100
