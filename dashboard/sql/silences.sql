-- Silences that last, the one that ends first at the front.
SELECT id, by, incident, scope, until AS ends, note
FROM orders
WHERE action = 'silence' AND outcome = 'obeyed' AND until > {until:DateTime64(9)}
    AND id NOT IN (SELECT silence FROM orders WHERE action = 'end_silence' AND outcome = 'obeyed')
    AND incident NOT IN (SELECT id FROM incidents WHERE status IN ('resolved', 'false'))
ORDER BY ends, id
LIMIT {rows:UInt32}
