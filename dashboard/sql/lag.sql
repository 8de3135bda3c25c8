-- The newest of what began in a time range. No row of these is ever taken back, so this asks for no FINAL.
SELECT
    (
        SELECT max(received_time)
        FROM span_versions
        WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    ) AS received,
    (
        SELECT max(start_time + toIntervalNanosecond(duration_ns))
        FROM run_versions
        WHERE start_time >= {since:DateTime64(9)} AND start_time < {until:DateTime64(9)}
    ) AS judged,
    (
        SELECT max(time + toIntervalSecond(width_s))
        FROM window_versions
        WHERE width_s = 60 AND signal IN ('run_traffic', 'model_error', 'tool_error')
            AND time >= {since:DateTime64(9)} AND time < {until:DateTime64(9)}
    ) AS closed
