-- Whether anything has come at all, and when the last of it did.
SELECT count() AS spans, max(received_time) AS received FROM spans
