SELECT count() AS open FROM incidents WHERE status IN ('open', 'acknowledged', 'silenced')
