-- What the dashboard reads instead of whole spans: narrow rows that are sorted by time. The notes of 0001 hold here, too.
--
-- Views over inserts would count a row that is written twice two times, so sums are of no use here. These are either
-- versions of rows again, keyed by what never changes, or first and last times, which stay the same however often a
-- row is written. Ids are hashes in the keys: FINAL has to read them. What was stored before this migration is not here.

-- Runs by time: `traces` is sorted by id, and reading an hour of it reads all of it. A trace whose late spans move its
-- start into another hour stands in both.
CREATE TABLE IF NOT EXISTS run_versions
(
    tenant LowCardinality(String),
    start_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    trace_key UInt64 CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    name LowCardinality(String),
    agent LowCardinality(String),
    service LowCardinality(String),
    release LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    conversation_id String CODEC(ZSTD(1)),
    models Array(LowCardinality(String)) CODEC(ZSTD(1)),
    class LowCardinality(String),
    outcome LowCardinality(String),
    reported_status LowCardinality(String),
    duration_ns Int64 CODEC(ZSTD(1)),
    steps UInt32 CODEC(ZSTD(1)),
    tool_calls UInt32 CODEC(ZSTD(1)),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    rules Array(LowCardinality(String)) CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1)),

    INDEX agent_set agent TYPE set(64) GRANULARITY 1,
    INDEX user_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX conversation_bloom conversation_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, toStartOfHour(start_time), trace_key)
TTL inserted_at + INTERVAL 90 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS run_rows TO run_versions AS
SELECT
    tenant, start_time, cityHash64(trace_id) AS trace_key, trace_id, name, if(agent = '', service, agent) AS agent,
    service, service_version AS release, user_id, conversation_id, models,
    multiIf(
        outcome IN ('failed', 'degraded') AND reported_status != 'error', 'green but failed',
        outcome IN ('failed', 'degraded') OR reported_status = 'error', 'reported error',
        outcome = 'rescued', 'rescued',
        outcome = 'incomplete', 'incomplete',
        'fine'
    ) AS class,
    outcome, reported_status, duration_ns, steps, tool_calls, input_tokens, output_tokens, reasoning_tokens, cost_usd,
    rules, version
FROM trace_versions;

CREATE VIEW IF NOT EXISTS runs AS SELECT * EXCEPT (inserted_at) FROM run_versions FINAL;

-- Model calls without their content: what they cost, by model.
CREATE TABLE IF NOT EXISTS model_call_versions
(
    tenant LowCardinality(String),
    start_time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    trace_key UInt64 CODEC(ZSTD(1)),
    span_key UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    answered LowCardinality(String),
    failed Bool,
    counted Bool,
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    cache_read_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    version Int64 CODEC(ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now('UTC') CODEC(Delta(4), ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PRIMARY KEY (tenant, toStartOfHour(start_time), trace_key)
ORDER BY (tenant, toStartOfHour(start_time), trace_key, span_key, start_time)
TTL inserted_at + INTERVAL 30 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS model_call_rows TO model_call_versions AS
SELECT
    tenant, start_time, cityHash64(trace_id) AS trace_key, cityHash64(span_id) AS span_key, service, provider,
    if(request_model = '', replaceRegexpOne(response_model, '-20\\d\\d-?\\d\\d-?\\d\\d$', ''), request_model) AS model,
    response_model AS answered, effective_status = 'error' AS failed, counted, input_tokens, output_tokens,
    cache_read_tokens, reasoning_tokens, cost_usd, version
FROM span_versions
WHERE kind = 'llm';

CREATE VIEW IF NOT EXISTS model_calls AS SELECT * EXCEPT (inserted_at) FROM model_call_versions FINAL;

-- What each agent was ever seen to reach: tools, the names of their arguments, and the hosts, tables, buckets and so on
-- that arguments name. First and last time, and the trace that was first.
CREATE TABLE IF NOT EXISTS reached
(
    tenant LowCardinality(String),
    kind LowCardinality(String),
    agent LowCardinality(String),
    tool LowCardinality(String),
    name String CODEC(ZSTD(1)),
    first_seen SimpleAggregateFunction(min, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    last_seen SimpleAggregateFunction(max, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    first_trace AggregateFunction(argMin, String, DateTime64(9, 'UTC')) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant, kind, agent, tool, name)
TTL toDateTime(last_seen) + INTERVAL 390 DAY
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS reached_rows TO reached AS
SELECT
    tenant, seen.1 AS kind, if(agent = '', service, agent) AS agent, tool, left(seen.2, 120) AS name,
    min(start_time) AS first_seen, max(start_time) AS last_seen, argMinState(trace_id, start_time) AS first_trace
FROM
(
    SELECT
        tenant, span_versions.agent AS agent, service, tool, trace_id, start_time,
        if(
            JSONType(ifNull(tool_arguments, ''), 'kwargs') = 'Object',
            JSONExtractRaw(ifNull(tool_arguments, ''), 'kwargs'),
            ifNull(tool_arguments, '')
        ) AS arguments,
        arrayJoin(
            arrayConcat(
                [('tool', '')],
                arrayMap(key -> ('argument', key), arraySlice(JSONExtractKeys(arguments), 1, 40)),
                arrayFilter(
                    found -> found.2 != '',
                    arrayMap(
                        key -> (
                            'resource',
                            if(
                                lower(key) IN ('url', 'uri', 'link', 'endpoint'),
                                domain(JSONExtractString(arguments, key)),
                                JSONExtractString(arguments, key)
                            )
                        ),
                        arrayFilter(
                            key -> lower(key) IN (
                                'url', 'uri', 'link', 'endpoint', 'host', 'hostname', 'domain', 'table', 'table_name',
                                'database', 'schema', 'bucket', 'queue', 'topic', 'index', 'collection', 'repo',
                                'repository', 'channel'
                            ),
                            arraySlice(JSONExtractKeys(arguments), 1, 40)
                        )
                    )
                )
            )
        ) AS seen
    FROM span_versions
    WHERE kind = 'tool' AND tool != ''
)
GROUP BY tenant, kind, agent, tool, name;
