set -e

# A master that the Sentinels know and that answers as one, else the first node.
MASTER=
for i in 0 1 2; do
  known=$(timeout 1 redis-cli -h redis-$i.redis-headless.matrix.svc.cluster.local -p 26379 sentinel get-master-addr-by-name mymaster 2>/dev/null | head -1) || continue
  [ -n "$known" ] || continue
  role=$(timeout 1 redis-cli -h "$known" -a "$REDIS_PASSWORD" --no-auth-warning role 2>/dev/null | head -1) || continue
  if [ "$role" = master ]; then MASTER=$known; break; fi
done
: "${MASTER:=redis-0.redis-headless.matrix.svc.cluster.local}"

for template in /templates/*/*.conf; do
  sed -e "s|\${POD_IP}|$POD_IP|; s|\${REDIS_PASSWORD}|$REDIS_PASSWORD|; s|\${MASTER}|$MASTER|; s|\${MAXMEMORY}|$MAXMEMORY|" \
    "$template" > "/etc/redis/$(basename "$template")"
done
case $MASTER in
  "$POD_IP" | "$POD_NAME".*) sed -i /^replicaof/d /etc/redis/redis.conf ;;
esac
