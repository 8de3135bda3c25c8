-- One table a topic, and a view over it that shows every row once: the version that counts.
--
-- The three fsync settings together are what survives a power cut: an insert is answered when its part is on
-- disk, and a merge removes the parts it replaces only when the merged part is on disk too.
-- Sorting keys hold facts that never change about a row, because rows with the same key are versions of one row.
-- Text is ZSTD(1): level 3 is 6% smaller and costs a fifth more CPU over insert and merges (measured).
-- `inserted_at` is what retention counts from: event times may lie in the past (imports) or be wrong.

CREATE TABLE IF NOT EXISTS span_versions
(
    tenant LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    name LowCardinality(String),
    kind LowCardinality(String),
    otel_kind LowCardinality(String),
    convention LowCardinality(String),
    service LowCardinality(String),
    service_version LowCardinality(String),
    environment LowCardinality(String),
    scope_name LowCardinality(String),
    scope_version LowCardinality(String),
    start_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    duration_ns Int64 CODEC(ZSTD(1)),
    received_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    reported_status LowCardinality(String),
    effective_status LowCardinality(String),
    effective_reason LowCardinality(String),
    status_message String CODEC(ZSTD(1)),
    error_type LowCardinality(String),
    http_status Nullable(UInt16) CODEC(ZSTD(1)),
    agent LowCardinality(String),
    workflow LowCardinality(String),
    conversation_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    provider LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    response_id String CODEC(ZSTD(1)),
    system_fingerprint LowCardinality(String),
    finish_reason LowCardinality(String),
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    cache_read_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    cache_write_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    time_to_first_token_ns Nullable(Int64) CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    counted Bool,
    retries Nullable(UInt32) CODEC(ZSTD(1)),
    tool LowCardinality(String),
    tool_call_id String CODEC(ZSTD(1)),
    tool_arguments Nullable(String) CODEC(ZSTD(1)),
    tool_result Nullable(String) CODEC(ZSTD(1)),
    system_instructions Nullable(String) CODEC(ZSTD(1)),
    input_messages Nullable(String) CODEC(ZSTD(1)),
    output_messages Nullable(String) CODEC(ZSTD(1)),
    tool_definitions Nullable(String) CODEC(ZSTD(1)),
    links Array(String) CODEC(ZSTD(1)),
    dropped_attributes UInt32 CODEC(ZSTD(1)),
    attributes Map(String, String) CODEC(ZSTD(1)),
    resource_attributes Map(String, String) CODEC(ZSTD(1)),
    version Int64 CODEC(Delta(8), ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1)),

    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX start_time_minmax start_time TYPE minmax GRANULARITY 1,
    INDEX tool_set tool TYPE set(64) GRANULARITY 1,
    INDEX agent_set agent TYPE set(64) GRANULARITY 1,
    INDEX conversation_bloom conversation_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
-- By week, and one for times that cannot be: each partition that an insert touches costs 27 ms, and spans with
-- made-up times must not stop the sink. Reads are pruned by hour, with the sorting key.
PARTITION BY if(
    start_time >= toDateTime64('2025-01-01 00:00:00', 9, 'UTC')
        AND start_time < toDateTime64('2100-01-01 00:00:00', 9, 'UTC'),
    toMonday(start_time),
    toDate(0)
)
PRIMARY KEY (tenant, toStartOfHour(start_time), service, trace_id)
ORDER BY (tenant, toStartOfHour(start_time), service, trace_id, span_id, start_time)
TTL inserted_at + INTERVAL 30 DAY
SETTINGS
    ttl_only_drop_parts = 1,
    -- Parts of few files, merged less often and not for ever: nearly halves the CPU that a span costs (measured).
    min_bytes_for_wide_part = 268435456, merge_selector_base = 10,
    max_bytes_to_merge_at_max_space_in_pool = 4294967296,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS spans AS SELECT * EXCEPT (inserted_at) FROM span_versions FINAL;

-- Start, service and outcome of a trace may change when late spans arrive, so neither can be in the key.
CREATE TABLE IF NOT EXISTS trace_versions
(
    tenant LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    name LowCardinality(String),
    service LowCardinality(String),
    service_version LowCardinality(String),
    environment LowCardinality(String),
    agent LowCardinality(String),
    workflow LowCardinality(String),
    conversation_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    start_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    duration_ns Int64 CODEC(ZSTD(1)),
    reported_status LowCardinality(String),
    effective_status LowCardinality(String),
    outcome LowCardinality(String),
    complete Bool,
    spans UInt32 CODEC(ZSTD(1)),
    steps UInt32 CODEC(ZSTD(1)),
    tool_calls UInt32 CODEC(ZSTD(1)),
    failed_tool_calls UInt32 CODEC(ZSTD(1)),
    providers Array(LowCardinality(String)) CODEC(ZSTD(1)),
    models Array(LowCardinality(String)) CODEC(ZSTD(1)),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    model_ns Int64 CODEC(ZSTD(1)),
    tool_ns Int64 CODEC(ZSTD(1)),
    waiting_ns Int64 CODEC(ZSTD(1)),
    rules Array(LowCardinality(String)) CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, trace_id)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS traces AS SELECT * EXCEPT (inserted_at) FROM trace_versions FINAL;

CREATE TABLE IF NOT EXISTS observation_versions
(
    id String CODEC(ZSTD(1)),
    rule LowCardinality(String),
    severity LowCardinality(String),
    confidence Float64 CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    service LowCardinality(String),
    service_version LowCardinality(String),
    agent LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    tool LowCardinality(String),
    summary String CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1)),

    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX tool_set tool TYPE set(64) GRANULARITY 1,
    INDEX agent_set agent TYPE set(64) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, rule, id)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS observations AS SELECT * EXCEPT (inserted_at) FROM observation_versions FINAL;

CREATE TABLE IF NOT EXISTS drop_versions
(
    id String CODEC(ZSTD(1)),
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    tenant LowCardinality(String),
    stage LowCardinality(String),
    signal LowCardinality(String),
    reason LowCardinality(String),
    count Int64 CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, stage, reason, id)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE VIEW IF NOT EXISTS drops AS SELECT * EXCEPT (inserted_at) FROM drop_versions FINAL;
