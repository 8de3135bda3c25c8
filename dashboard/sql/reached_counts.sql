-- How many tools, arguments and resources there are, and how many of them are new in the time range.
SELECT kind, count() AS known, countIf(since >= {since:DateTime64(9)}) AS fresh
FROM
(
    SELECT kind, reached.agent AS who, tool, name, min(first_seen) AS since
    FROM reached
    GROUP BY kind, who, tool, name
    HAVING since < {until:DateTime64(9)}
)
GROUP BY kind
ORDER BY kind
