-- Things that tools were called about for several users: arguments whose name is that of an identity, and conversations.
-- Reads what tools were called with, so of a short time only. Who is a hash: names are not looked at.
SELECT tool, argument, value, uniqExact(who) AS users, count() AS calls, max(at) AS lately, argMax(trace_id, at) AS example
FROM
(
    SELECT
        span.tool AS tool, entity.1 AS argument, entity.2 AS value, span.start_time AS at, span.trace_id AS trace_id,
        if(span.who = 0, run.who, span.who) AS who
    FROM
    (
        SELECT
            tool, trace_id, cityHash64(trace_id) AS trace_key, start_time, if(user_id = '', 0, cityHash64(user_id)) AS who,
            arrayFilter(
                pair -> length(pair.2) BETWEEN 3 AND 120
                    AND match(pair.1, '(?i)(^|_)(id|ids|no|nr|number|key|account|customer|order|claim|policy|email)$')
                    AND NOT match(pair.2, '^[*]+$'),
                JSONExtractKeysAndValues(
                    if(
                        position(arguments, '"kwargs"') > 0 AND JSONType(arguments, 'kwargs') = 'Object',
                        JSONExtractRaw(arguments, 'kwargs'),
                        arguments
                    ),
                    'String'
                )
            ) AS entities
        FROM
        (
            SELECT tool, trace_id, start_time, user_id, ifNull(tool_arguments, '') AS arguments
            FROM spans
            WHERE kind = 'tool' AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        )
        WHERE notEmpty(entities)
    ) AS span
    LEFT SEMI JOIN
    (
        SELECT trace_key, if(user_id = '', 0, cityHash64(user_id)) AS who
        FROM runs
        WHERE start_time >= {since:DateTime64(9)} - INTERVAL 1 HOUR AND start_time < {until:DateTime64(9)}
            AND ({agent:String} = '' OR agent = {agent:String})
    ) AS run ON run.trace_key = span.trace_key
    ARRAY JOIN span.entities AS entity
    UNION ALL
    SELECT '', 'conversation', conversation_id, start_time, trace_id, if(user_id = '', 0, cityHash64(user_id))
    FROM runs
    WHERE conversation_id != '' AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
        AND ({agent:String} = '' OR agent = {agent:String})
)
WHERE who != 0
GROUP BY tool, argument, value
HAVING users > 1
ORDER BY users DESC, calls DESC, tool, argument, value
LIMIT {rows:UInt32}
