-- How many series were seen lately, by minutes, and since when there is anything to learn from, by hours as far as they
-- go. Neither changes when a row is there twice, so this asks for no FINAL.
SELECT
    uniqIf((tenant, subject, agent, provider, model, tool), width_s = 60) AS series,
    min(time) AS first_seen
FROM window_versions
WHERE signal IN ('model_error', 'tool_error', 'run_traffic') AND time < {until:DateTime64(9)}
    AND (width_s = 3600 OR (width_s = 60 AND time >= {since:DateTime64(9)}))
