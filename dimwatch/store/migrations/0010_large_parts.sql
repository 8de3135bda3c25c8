-- Large parts of spans. A week at 25,000 spans a second is some 340 parts of 4 GiB, which 0001 allows at most, and with fifty
-- parts in a partition ClickHouse merges two of a size at a time, whatever `merge_selector_base` says: spans were merged five
-- times instead of fewer than three. With parts of 150 GiB, which is ClickHouse's default, a week has some ten that are done.
-- Partitions by day, in new tables, would be 49 parts of 4 GiB each, which is not few enough either.

ALTER TABLE span_versions MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 161061273600;
