-- Cheaper merges. Each time that a row is merged costs as much again as its insert (5 to 7 microseconds of CPU a span), so
-- spans are merged more parts at a time. How many parts that leaves is bounded all the same: from ten parts of a partition
-- on ClickHouse lowers the number by itself, to two at fifty. What the dashboard reads with FINAL keeps the usual number,
-- but in parts of few files. The notes of 0001 hold here, too.

ALTER TABLE span_versions MODIFY SETTING merge_selector_base = 30;
ALTER TABLE trace_versions MODIFY SETTING min_bytes_for_wide_part = 268435456;
ALTER TABLE run_versions MODIFY SETTING min_bytes_for_wide_part = 268435456;
ALTER TABLE model_call_versions MODIFY SETTING min_bytes_for_wide_part = 268435456;

-- Newer servers count the distinct values of every column at each merge, for orders of joins that no query here needs. Older
-- ones do not know the setting, and need none.
ALTER TABLE span_versions MODIFY SETTING auto_statistics_types = '';
ALTER TABLE trace_versions MODIFY SETTING auto_statistics_types = '';
ALTER TABLE run_versions MODIFY SETTING auto_statistics_types = '';
ALTER TABLE model_call_versions MODIFY SETTING auto_statistics_types = '';
