-- The agents to choose from.
SELECT agent FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND agent != ''
GROUP BY agent
ORDER BY agent
LIMIT 500
