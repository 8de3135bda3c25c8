SELECT id, toUnixTimestamp(time) AS at_s, by, incident, scope, toUnixTimestamp(until) AS until_s, note
FROM
(
    SELECT * FROM orders
    WHERE action = 'silence' AND outcome = 'obeyed'
    ORDER BY version DESC, id
    LIMIT 1 BY if(incident = '', id, incident)
)
WHERE toUnixTimestamp(until) > {now:Int64}
    AND id NOT IN (
        SELECT silence FROM orders WHERE action = 'end_silence' AND outcome IN ('obeyed', 'unknown_silence'))
    AND incident NOT IN (SELECT id FROM incidents WHERE status IN ('resolved', 'false'))
ORDER BY until_s, id
LIMIT 1000
