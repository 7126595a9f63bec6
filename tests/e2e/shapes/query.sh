#!/bin/bash
# Usage: query.sh COMMAND [ARGUMENT...]
# Starts a PostgreSQL server, prints its answers, and stops it.
set -u
"$@" &
server=$!
until pg_isready --quiet; do
  kill -0 "$server" || exit 1 # It has ended.
  sleep 0.1
done
psql -At -c 'create table words (word text)' -c "insert into words values ('one'), ('two')" \
  -c "select 'words: ' || count(*) from words" -c 'show data_checksums'
kill -INT "$server"
wait "$server"
