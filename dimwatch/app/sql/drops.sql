-- What was refused, cut or given up in the last {seconds:UInt32} seconds.
SELECT stage, signal, reason, sum(count) AS dropped
FROM drops
WHERE time >= now64(9, 'UTC') - toIntervalSecond({seconds:UInt32})
GROUP BY stage, signal, reason
ORDER BY dropped DESC, stage, signal, reason
