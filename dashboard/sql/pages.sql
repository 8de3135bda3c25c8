-- Incidents above the severity ticket that opened in a time range, and what became of telling people.
SELECT pages, false_pages, delivered, given_up
FROM
(
    SELECT count() AS pages, countIf(status = 'false') AS false_pages
    FROM incidents
    WHERE severity IN ('warning', 'critical')
        AND opened_at >= {since:DateTime64(9)} AND opened_at < {until:DateTime64(9)}
) AS opened
CROSS JOIN
(
    SELECT countIf(state = 'delivered') AS delivered, countIf(state = 'given_up') AS given_up
    FROM deliveries
    WHERE time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)} AND event != 'heartbeat'
) AS told
