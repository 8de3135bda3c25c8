-- Observations of the last {seconds:UInt32} seconds, by rule.
SELECT rule, any(severity) AS severity, count() AS found
FROM observations
WHERE time >= now64(9, 'UTC') - toIntervalSecond({seconds:UInt32})
GROUP BY rule
ORDER BY found DESC, rule
