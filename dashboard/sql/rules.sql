-- Findings by rule: the last 15 minutes against the hour before, both per 15 minutes.
SELECT
    rule,
    if(countIf(severity = 'critical') > 0, 'critical', if(countIf(severity = 'warning') > 0, 'warning', 'info'))
        AS worst,
    countIf(time >= {until:DateTime64(9)} - INTERVAL 15 MINUTE) AS recent,
    countIf(time < {until:DateTime64(9)} - INTERVAL 15 MINUTE) / 4 AS usual,
    uniq(agent) AS agents,
    max(time) AS last_seen
FROM observations
WHERE time >= {until:DateTime64(9)} - INTERVAL 75 MINUTE AND time < {until:DateTime64(9)}
    AND ({agent:String} = '' OR agent = {agent:String})
GROUP BY rule
ORDER BY recent DESC, usual DESC
