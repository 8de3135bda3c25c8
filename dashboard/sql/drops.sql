-- What was refused, cut or given up, by reason.
SELECT stage, signal, reason, sum(count) AS dropped, max(time) AS last_seen
FROM drops
WHERE time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
GROUP BY stage, signal, reason
ORDER BY dropped DESC
LIMIT 200
