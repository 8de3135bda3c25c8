-- How many series are watched, and since when there is anything to learn from. Neither changes when a row is there
-- twice, so this asks for no FINAL.
SELECT
    uniqIf((tenant, subject, agent, provider, model, tool), time >= {since:DateTime64(9)}) AS series,
    min(time) AS first_seen
FROM window_versions
WHERE width_s = 60 AND signal IN ('model_error', 'tool_error', 'run_traffic')
    AND time >= {oldest:DateTime64(9)} AND time < {until:DateTime64(9)}
