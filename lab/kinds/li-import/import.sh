# One round: all that LI's role may read of main's tables comes in the place of what LI had of them, in one transaction. LI
# keeps what its Synapse writes for itself.
set -euo pipefail

main() { PGPASSWORD=$MAIN_DB_PASSWORD "$@" -h "$MAIN_DB_HOST" -U "$MAIN_DB_USER" -d "$MAIN_DB_NAME"; }
li() { PGPASSWORD=$LI_DB_PASSWORD "$@" -h "$LI_DB_HOST" -U "$LI_DB_USER" -d "$LI_DB_NAME"; }

mapfile -t tables < <(main psql -XAtq -v ON_ERROR_STOP=1 -c "SELECT format('public.%I', relname) FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(oid, 'SELECT')")
[ "${#tables[@]}" -gt 0 ]

# Where the dump breaks off, the end of the transaction does not come.
{
  echo "SET lock_timeout = '30s'; BEGIN;"
  (IFS=,; echo "TRUNCATE ${tables[*]} CASCADE;")
  # Synapse's triggers name tables without a schema, and a dump takes the search path away.
  main pg_dump --data-only --no-owner "${tables[@]/#/--table=}" | grep -v "set_config('search_path'"
  echo "COMMIT;"
} | li psql -Xq -v ON_ERROR_STOP=1 -o /dev/null

bash /scripts/sequences.sh
