#!/bin/sh
# Run once by the ClickHouse image, on an empty volume: makes the database, roles and accounts of users.sql.
set -eu
quoted=$(printf %s "$CLICKHOUSE_READER_PASSWORD" | sed "s/[\\\\']/\\\\&/g")
sed "s/{reader_password}/$(printf %s "$quoted" | sed 's/[\\/&]/\\&/g')/" /docker-entrypoint-initdb.d/users.sql.in |
  clickhouse-client --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD" --multiquery
