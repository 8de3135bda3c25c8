"""Anomalies in a single series of a metric, found record by record without look-ahead."""
