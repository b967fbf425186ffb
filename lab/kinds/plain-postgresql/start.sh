# The database is made aside, and has its name once it is whole. Nobody but its own pod gets in without a password.
set -e
if [ ! -d "$PGDATA" ]; then
  rm -rf "$PGDATA.part"
  initdb -D "$PGDATA.part" --username=postgres --auth-local=trust --auth-host=scram-sha-256 --locale=C --encoding=UTF8 > /dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA.part/pg_hba.conf"
  pg_ctl -D "$PGDATA.part" -w -l /tmp/log -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start > /dev/null
  psql -Xq -h /tmp -U postgres -d postgres -v ON_ERROR_STOP=1 -v synapse="$SYNAPSE_PASSWORD" \
    -v key_vault="$KEY_VAULT_PASSWORD" -f /scripts/roles.sql
  pg_ctl -D "$PGDATA.part" -w -m fast stop > /dev/null
  mv "$PGDATA.part" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=400 -c shared_buffers=64MB -c fsync=off
