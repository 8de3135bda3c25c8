-- Closed windows of the fleet and what was seen in them, changes and incidents. The notes of 0001 hold here, too.
--
-- A closed window never changes: it is written again only by a stage that repeats itself, with the same values, so
-- neither windows nor sightings have a version. What a series is called may be long; most of the key is the same
-- from row to row and costs next to nothing.

CREATE TABLE IF NOT EXISTS window_versions
(
    tenant LowCardinality(String),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    subject LowCardinality(String),
    agent LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    tool LowCardinality(String),
    release LowCardinality(String),
    region LowCardinality(String),
    signal LowCardinality(String),
    n Float64 CODEC(ZSTD(1)),
    total Float64 CODEC(ZSTD(1)),
    squares Float64 CODEC(ZSTD(1)),
    bucket Array(Int16) CODEC(ZSTD(1)),
    bucket_count Array(UInt32) CODEC(T64, ZSTD(1)),
    width_s UInt32 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1)),

    INDEX time_minmax time TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
-- By width, because that is what retention depends on, and by week. The times are those of the eventlog, within the
-- lateness of a window, so that no sender can scatter an insert.
PARTITION BY (width_s, toMonday(time))
PRIMARY KEY (tenant, width_s, signal, agent, provider, model, tool)
ORDER BY (tenant, width_s, signal, agent, provider, model, tool, release, region, subject, time)
TTL inserted_at + INTERVAL 2 DAY DELETE WHERE width_s < 60,
    inserted_at + INTERVAL 30 DAY DELETE WHERE width_s >= 60 AND width_s < 3600,
    inserted_at + INTERVAL 390 DAY DELETE WHERE width_s >= 3600
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS windows AS SELECT * EXCEPT (inserted_at) FROM window_versions FINAL;

CREATE TABLE IF NOT EXISTS sighting_versions
(
    tenant LowCardinality(String),
    agent LowCardinality(String),
    attribute LowCardinality(String),
    key LowCardinality(String),
    value String CODEC(ZSTD(1)),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    n Float64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, attribute, agent, key, value, time)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS sightings AS SELECT * EXCEPT (inserted_at) FROM sighting_versions FINAL;

CREATE TABLE IF NOT EXISTS change_versions
(
    id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    agent LowCardinality(String),
    attribute LowCardinality(String),
    key LowCardinality(String),
    before String CODEC(ZSTD(1)),
    after String CODEC(ZSTD(1)),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    status LowCardinality(String),
    share_before Float64 CODEC(ZSTD(1)),
    share_after Float64 CODEC(ZSTD(1)),
    effects String CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, id)
TTL inserted_at + INTERVAL 390 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS changes AS SELECT * EXCEPT (inserted_at) FROM change_versions FINAL;

CREATE TABLE IF NOT EXISTS incident_versions
(
    id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    kind LowCardinality(String),
    severity LowCardinality(String),
    status LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    agent LowCardinality(String),
    tool LowCardinality(String),
    release LowCardinality(String),
    region LowCardinality(String),
    opened_at DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    started_at DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    resolved_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    signals String CODEC(ZSTD(1)),
    causes String CODEC(ZSTD(1)),
    runs Float64 CODEC(ZSTD(1)),
    cost_usd Float64 CODEC(ZSTD(1)),
    summary String CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, id)
TTL inserted_at + INTERVAL 390 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS incidents AS SELECT * EXCEPT (inserted_at) FROM incident_versions FINAL;
