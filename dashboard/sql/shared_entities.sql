-- Things that tools were called about for several users: arguments whose name is that of an identity, and conversations.
-- Reads what tools were called with, so of a short time only.
SELECT tool, argument, value, uniqExact(cityHash64(who)) AS users, count() AS calls, max(at) AS lately, argMax(trace_id, at) AS example
FROM
(
    SELECT
        span.tool AS tool, entity.1 AS argument, entity.2 AS value, span.start_time AS at, span.trace_id AS trace_id,
        if(span.user_id = '', run.user_id, span.user_id) AS who
    FROM
    (
        SELECT
            tool, trace_id, cityHash64(trace_id) AS trace_key, start_time, user_id,
            arrayJoin(
                arrayFilter(
                    pair -> length(pair.2) BETWEEN 3 AND 120 AND NOT match(pair.2, '^[*]+$')
                        AND match(pair.1, '(?i)(^|_)(id|ids|no|nr|number|key|account|customer|order|claim|policy|email)$'),
                    JSONExtractKeysAndValues(
                        if(
                            JSONType(ifNull(tool_arguments, ''), 'kwargs') = 'Object',
                            JSONExtractRaw(ifNull(tool_arguments, ''), 'kwargs'),
                            ifNull(tool_arguments, '')
                        ),
                        'String'
                    )
                )
            ) AS entity
        FROM spans
        WHERE kind = 'tool' AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    ) AS span
    INNER JOIN
    (
        SELECT trace_key, user_id, agent
        FROM runs
        WHERE start_time >= {since:DateTime64(9)} - INTERVAL 1 HOUR AND start_time < {until:DateTime64(9)}
            AND ({agent:String} = '' OR agent = {agent:String})
    ) AS run ON run.trace_key = span.trace_key
    UNION ALL
    SELECT '', 'conversation', conversation_id, start_time, trace_id, user_id
    FROM runs
    WHERE conversation_id != '' AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
)
WHERE who != ''
GROUP BY tool, argument, value
HAVING users > 1
ORDER BY users DESC, calls DESC, tool, argument, value
LIMIT {rows:UInt32}
