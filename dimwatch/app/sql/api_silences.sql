SELECT id, toUnixTimestamp(time) AS at_s, by, incident, scope, toUnixTimestamp(until) AS until_s, note
FROM orders
WHERE action = 'silence' AND outcome = 'obeyed' AND toUnixTimestamp(until) > {now:Int64}
    AND id NOT IN (SELECT silence FROM orders WHERE action = 'end_silence' AND outcome = 'obeyed')
    AND incident NOT IN (SELECT id FROM incidents WHERE status IN ('resolved', 'false'))
ORDER BY until_s, id
LIMIT 1000
