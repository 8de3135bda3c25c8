-- What detectors in shadow would have paged: a row when it would have opened, and again when it would have ended.

CREATE TABLE IF NOT EXISTS shadow_alert_versions
(
    id String CODEC(ZSTD(1)),
    plugin LowCardinality(String),
    tenant LowCardinality(String),
    agent LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    tool LowCardinality(String),
    release LowCardinality(String),
    region LowCardinality(String),
    signal LowCardinality(String),
    since DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    opened_at DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    until Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    p_value Float64 CODEC(ZSTD(1)),
    evidence Float64 CODEC(ZSTD(1)),
    threshold Float64 CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, plugin, id)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS shadow_alerts AS SELECT * EXCEPT (inserted_at) FROM shadow_alert_versions FINAL;
