-- What agents ever reached, the newest first. The agent of a span that names none is its service.
SELECT
    kind, reached.agent AS who, tool, name, min(reached.first_seen) AS since, max(reached.last_seen) AS lately,
    argMinMerge(first_trace) AS trace_id
FROM reached
WHERE ({kind:String} = '' OR kind = {kind:String})
    AND ({agent:String} = '' OR reached.agent = {agent:String} OR reached.agent IN
    (
        SELECT service FROM runs
        WHERE agent = {agent:String} AND start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    ))
GROUP BY kind, who, tool, name
HAVING since < {until:DateTime64(9)}
ORDER BY since DESC, kind, who, tool, name
LIMIT {rows:UInt32}
