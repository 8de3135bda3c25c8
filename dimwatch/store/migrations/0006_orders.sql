-- What people said of incidents and what became of it, and the canary's spans, which are no telemetry of anybody's. The
-- notes of 0001 hold here, too.

CREATE TABLE IF NOT EXISTS order_versions
(
    id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    action LowCardinality(String),
    incident String CODEC(ZSTD(1)),
    scope Map(String, String) CODEC(ZSTD(1)),
    until Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    silence String CODEC(ZSTD(1)),
    labels Map(String, String) CODEC(ZSTD(1)),
    by String CODEC(ZSTD(1)),
    note String CODEC(ZSTD(1)),
    outcome LowCardinality(String),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, incident, id)
TTL inserted_at + INTERVAL 390 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS orders AS SELECT * EXCEPT (inserted_at) FROM order_versions FINAL;

CREATE TABLE IF NOT EXISTS canary_versions
(
    tenant LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    sent_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    received_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, sent_time, trace_id)
TTL inserted_at + INTERVAL 30 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS canaries AS SELECT * EXCEPT (inserted_at) FROM canary_versions FINAL;
