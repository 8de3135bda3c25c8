-- Whether anything has come at all.
SELECT count() AS spans FROM (SELECT 1 FROM span_versions LIMIT 1)
