-- Accounts on a ClickHouse server. Run by an administrator, once, before or after Dimwatch made its tables; with a
-- cluster, add ON CLUSTER to each statement. {reader_password} is put in by init.sh.

CREATE DATABASE IF NOT EXISTS dimwatch;

-- What reading may cost, so that no query of a person takes the server from the sink.
CREATE SETTINGS PROFILE IF NOT EXISTS dimwatch_reading SETTINGS
    readonly = 2,
    max_execution_time = 60,
    max_memory_usage = 4000000000,
    max_bytes_before_external_group_by = 2000000000,
    max_result_rows = 1000000 MAX 10000000,
    max_concurrent_queries_for_user = 20;

-- The dashboard, the API and Grafana: every tenant, no changes.
CREATE ROLE IF NOT EXISTS dimwatch_reader SETTINGS PROFILE 'dimwatch_reading';
GRANT SELECT, SHOW TABLES, SHOW COLUMNS ON dimwatch.* TO dimwatch_reader;
CREATE USER IF NOT EXISTS dimwatch_reader IDENTIFIED WITH sha256_password BY '{reader_password}'
    DEFAULT ROLE dimwatch_reader;

-- Analysts: one role for all that they may do, and a policy a table for what they may see of it. A restrictive policy
-- holds whatever other policies allow: a tenant that nobody named for them stays hidden. The tenant is the one that
-- was named when the account was made (below), and not one that a query can choose.
CREATE ROLE IF NOT EXISTS dimwatch_analyst SETTINGS PROFILE 'dimwatch_reading';
GRANT SELECT, SHOW TABLES, SHOW COLUMNS ON dimwatch.* TO dimwatch_analyst;
-- Which versions were installed is no tenant's: that table has no column for the policy.
REVOKE SELECT ON dimwatch.migrations FROM dimwatch_analyst;

CREATE ROW POLICY IF NOT EXISTS dimwatch_all ON dimwatch.* FOR SELECT USING 1 TO dimwatch_analyst, dimwatch_reader;
CREATE ROW POLICY IF NOT EXISTS dimwatch_tenant ON dimwatch.* AS RESTRICTIVE FOR SELECT
    USING has(splitByChar(',', getSetting('SQL_dimwatch_tenants')), tenant) TO dimwatch_analyst;

-- An analyst of tenant acme; CONST: no query of theirs can set it to another.
--   CREATE USER alice IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE dimwatch_analyst
--       SETTINGS SQL_dimwatch_tenants = 'acme' CONST;
