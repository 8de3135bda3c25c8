-- Every attempt to tell somebody of an incident: a row when it begins and again when it has ended, so that one that a
-- crash cut short is seen as well. The notes of 0001 hold here, too.

CREATE TABLE IF NOT EXISTS delivery_versions
(
    id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    route LowCardinality(String),
    target LowCardinality(String),
    target_type LowCardinality(String),
    event LowCardinality(String),
    incidents Array(String) CODEC(ZSTD(1)),
    idempotency_key String CODEC(ZSTD(1)),
    attempt UInt32 CODEC(ZSTD(1)),
    state LowCardinality(String),
    status Nullable(UInt16) CODEC(ZSTD(1)),
    duration_ns Nullable(Int64) CODEC(ZSTD(1)),
    error String CODEC(ZSTD(1)),
    next_attempt_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1)),

    INDEX incidents_bloom incidents TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, time, id)
TTL inserted_at + INTERVAL 390 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS deliveries AS SELECT * EXCEPT (inserted_at) FROM delivery_versions FINAL;
