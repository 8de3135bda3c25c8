-- Silences that last, the one that ends first at the front. An incident has one, the newest.
SELECT id, by, incident, scope, until AS ends, note
FROM
(
    SELECT * FROM orders
    WHERE action = 'silence' AND outcome = 'obeyed'
    ORDER BY version DESC, id
    LIMIT 1 BY if(incident = '', id, incident)
)
WHERE until > {until:DateTime64(9)}
    AND id NOT IN (
        SELECT silence FROM orders WHERE action = 'end_silence' AND outcome IN ('obeyed', 'unknown_silence'))
    AND incident NOT IN (SELECT id FROM incidents WHERE status IN ('resolved', 'false'))
ORDER BY ends, id
LIMIT {rows:UInt32}
