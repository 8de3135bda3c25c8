-- The newest traces that Dimwatch sent to itself and could read again.
SELECT sent_time, received_time, dateDiff('millisecond', sent_time, received_time) / 1000 AS took_s
FROM canaries
WHERE sent_time >= {since:DateTime64(9)}
ORDER BY sent_time DESC
LIMIT {rows:UInt32}
