# LI's side, as the owner of its database: the schema, which replication does not carry, and the rows that come with it.
set -euo pipefail

export PGHOST=$LI_DB_HOST PGDATABASE=$LI_DB_NAME PGUSER=$LI_DB_USER PGPASSWORD=$LI_DB_PASSWORD
until there=$(psql -XAtqc "SELECT to_regclass('public.events') IS NOT NULL"); do sleep 0.5; done
if [ "$there" = f ]; then
  psql -Xq -v ON_ERROR_STOP=1 --single-transaction -o /dev/null -f /schema/schema.sql -f /schema/given.sql
fi
