SELECT tenant, time, subject, agent, provider, model, tool, release, region, signal, n, total, squares, bucket, bucket_count
FROM windows
WHERE width_s = 60 AND time >= fromUnixTimestamp64Nano({start:Int64}) AND time < fromUnixTimestamp64Nano({end:Int64})
