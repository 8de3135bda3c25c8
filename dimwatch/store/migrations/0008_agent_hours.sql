-- What models cost by the hour, also for each agent: whose calls they are is known when their run is judged.
ALTER TABLE model_hour_versions ADD COLUMN IF NOT EXISTS agents Array(Tuple(
    agent String,
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
)) CODEC(ZSTD(1)) AFTER models;

CREATE OR REPLACE VIEW model_hours AS SELECT * EXCEPT (inserted_at) FROM model_hour_versions FINAL;

-- Which hours runs came to lately.
ALTER TABLE run_versions ADD INDEX IF NOT EXISTS inserted_at_minmax inserted_at TYPE minmax GRANULARITY 1;
ALTER TABLE run_versions MATERIALIZE INDEX inserted_at_minmax;
