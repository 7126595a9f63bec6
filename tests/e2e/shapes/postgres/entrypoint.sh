#!/bin/bash
# Makes the data directory at the first start.
set -e
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  initdb --data-checksums --auth=trust --no-sync
fi
exec "$@"
