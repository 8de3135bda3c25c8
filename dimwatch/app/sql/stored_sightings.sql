SELECT tenant, agent, attribute, key, value, time, n
FROM sightings
WHERE time >= fromUnixTimestamp64Nano({start:Int64}) AND time < fromUnixTimestamp64Nano({end:Int64})
