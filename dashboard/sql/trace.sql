-- One trace.
SELECT *, ifNull(cost_usd, 0) AS cost FROM traces WHERE trace_id = {trace_id:String} LIMIT 1
