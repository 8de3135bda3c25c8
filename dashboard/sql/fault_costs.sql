-- What runs with a fault cost, and how much more that is than runs of the same agents without any.
SELECT
    arrayJoin(rules) AS rule,
    sum(alike.runs) AS hit,
    sum(alike.cost_usd) AS spent_usd,
    sum(alike.cost_usd - alike.runs * usual_usd) AS extra_usd,
    sum(alike.vain_usd) AS vain_usd
FROM
(
    SELECT
        rules,
        count() AS runs,
        sum(run.cost_usd) AS cost_usd,
        sumIf(run.cost_usd, outcome IN ('failed', 'degraded')) AS vain_usd,
        sumIf(sum(run.cost_usd), empty(rules)) OVER (PARTITION BY agent)
            / sumIf(count(), empty(rules)) OVER (PARTITION BY agent) AS usual_usd
    FROM runs AS run
    WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)} AND run.cost_usd IS NOT NULL
        AND ({agent:String} = '' OR agent = {agent:String})
    GROUP BY agent, rules
) AS alike
GROUP BY rule
ORDER BY extra_usd DESC, rule
LIMIT 100
