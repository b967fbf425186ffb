# Main's side, as the owner of its tables: only the owner may publish them, and may read the schema of all of them.
set -euo pipefail

# Main answers once it has migrated its database; a version in the database comes before the migration's end.
until (exec 3<>"/dev/tcp/$MAIN_SYNAPSE/8008") 2>/dev/null; do sleep 0.5; done

export PGHOST=$MAIN_DB_HOST PGDATABASE=$MAIN_DB_NAME PGUSER=$OWNER PGPASSWORD=$OWNER_PASSWORD
until psql -XAtqc "SELECT 1" > /dev/null; do sleep 0.5; done
given=$(psql -XAtq -v ON_ERROR_STOP=1 -v publication="$PUBLICATION" -v reader="$MAIN_DB_USER" -f /scripts/publish.sql)

pg_dump --schema-only --schema=public --no-owner --no-privileges --no-publications > /schema/schema.sql
# shellcheck disable=SC2086 # one word per table
pg_dump --data-only --no-owner $(printf -- '--table=public.%s ' $given) > /schema/given.sql
# The schema public is there, and LI's role may not make it.
sed -i -E '/^(CREATE|COMMENT ON) SCHEMA public/d' /schema/schema.sql
