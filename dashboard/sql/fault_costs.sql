-- What runs with a fault cost, and how much more that is than runs of the same agents without any.
SELECT
    rule,
    count() AS hit,
    sum(faulty.cost_usd) AS spent_usd,
    sum(faulty.cost_usd - clean.usual_usd) AS extra_usd,
    sumIf(faulty.cost_usd, bad) AS vain_usd
FROM
(
    SELECT agent, arrayJoin(rules) AS rule, cost_usd, outcome IN ('failed', 'degraded') AS bad
    FROM runs
    WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND cost_usd IS NOT NULL
        AND ({agent:String} = '' OR agent = {agent:String})
) AS faulty
LEFT JOIN
(
    SELECT agent, avg(cost_usd) AS usual_usd
    FROM runs
    WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND cost_usd IS NOT NULL
        AND empty(rules)
    GROUP BY agent
) AS clean USING (agent)
GROUP BY rule
ORDER BY extra_usd DESC, rule
LIMIT 100
