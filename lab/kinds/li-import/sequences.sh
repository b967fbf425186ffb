# The sequences stand where main's do: behind them, Synapse would refuse to start or give numbers out twice.
set -euo pipefail

li() { PGPASSWORD=$LI_DB_PASSWORD psql -XAtq -h "$LI_DB_HOST" -U "$LI_DB_USER" -d "$LI_DB_NAME" -v ON_ERROR_STOP=1 "$@"; }
main() { PGPASSWORD=$MAIN_DB_PASSWORD psql -XAtq -h "$MAIN_DB_HOST" -U "$MAIN_DB_USER" -d "$MAIN_DB_NAME" -v ON_ERROR_STOP=1 "$@"; }

main -c "SELECT format('SELECT setval(%L, greatest(%s, last_value)) FROM %I.%I;',
  format('%I.%I', schemaname, sequencename), last_value, schemaname, sequencename)
  FROM pg_sequences WHERE last_value IS NOT NULL" | li -o /dev/null
