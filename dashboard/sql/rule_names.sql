-- The rules with findings to choose from.
SELECT DISTINCT arrayJoin(rules) AS rule
FROM runs
WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND notEmpty(rules)
ORDER BY rule
LIMIT 100
