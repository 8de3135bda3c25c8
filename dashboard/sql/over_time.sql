-- Runs by what became of them, in buckets of `step` seconds; each run is in one class.
SELECT toStartOfInterval(start_time, toIntervalSecond({step:UInt32})) AS time, class, count() AS traces
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY time, class
ORDER BY time, class
