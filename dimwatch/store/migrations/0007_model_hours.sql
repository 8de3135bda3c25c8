-- What models cost, by the hour: what the dashboard reads instead of all calls of a day. The notes of 0001 hold here, too.
--
-- A sum over inserts would count a call that is written twice two times, so an hour is one row, a version of which is
-- made anew from `model_calls`, which shows each call once. dimwatch/store/rollup.py makes them, when an hour is over and
-- whenever calls of it still come.

CREATE TABLE IF NOT EXISTS model_hour_versions
(
    tenant LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    models Array(Tuple(
        provider String,
        model String,
        answered Array(String),
        calls UInt64,
        unpriced UInt64,
        cost_usd Nullable(Float64),
        failed_usd Nullable(Float64),
        input_tokens Nullable(Int64),
        output_tokens Nullable(Int64),
        cache_read_tokens Nullable(Int64),
        reasoning_tokens Nullable(Int64)
    )) CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, hour)
TTL inserted_at + INTERVAL 30 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS model_hours AS SELECT * EXCEPT (inserted_at) FROM model_hour_versions FINAL;

-- Which hours calls came to lately.
ALTER TABLE model_call_versions ADD INDEX IF NOT EXISTS inserted_at_minmax inserted_at TYPE minmax GRANULARITY 1;
ALTER TABLE model_call_versions MATERIALIZE INDEX inserted_at_minmax;
