-- Who ran some traces, by their keys.
SELECT trace_id, if(agent = '', service, agent) AS who
FROM traces
WHERE trace_id IN {trace_ids:Array(String)}
