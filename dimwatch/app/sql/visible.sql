-- Spans that came in during the last {seconds:UInt32} seconds and can be seen now. The bound on the start lets
-- the primary key do its work; spans that were old when they came are not counted.
SELECT count() AS visible
FROM spans
WHERE received_time >= now64(9, 'UTC') - toIntervalSecond({seconds:UInt32})
    AND start_time >= now64(9, 'UTC') - toIntervalHour(1)
