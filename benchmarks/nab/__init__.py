"""The Numenta Anomaly Benchmark, its scoring re-implemented from the paper."""
