#!/bin/sh
# Starts Redis with the password of the secret file, which belongs on no command line.
# ROLE: alone, primary or replica; the last two, with Sentinels, say only how to start when no Sentinel knows better.
# PRIMARY, REPLICA: the addresses of the two.
set -eu
umask 077
password=$(cat /run/secrets/store_password)

own=$PRIMARY
[ "$ROLE" != replica ] || own=$REPLICA
primary=$PRIMARY
if [ "$ROLE" != alone ]; then
    for sentinel in sentinel-1 sentinel-2 sentinel-3; do
        answer=$(timeout 2 redis-cli -h "$sentinel" -p 26379 --raw sentinel get-master-addr-by-name alignfed 2>/dev/null | head -n 1) || continue
        case $answer in "$PRIMARY" | "$REPLICA") primary=$answer; break ;; esac
    done
fi

{
    echo 'include /etc/alignfed/redis.conf'
    echo "requirepass $password"
    echo "maxmemory $MAXMEMORY"
    if [ "$ROLE" != alone ]; then
        echo "masterauth $password"
        echo "replica-announce-ip $own"
        # A primary that has lost its replica refuses writes: what it acknowledged alone would be lost at a failover.
        echo 'min-replicas-to-write 1'
        echo 'min-replicas-max-lag 10'
        [ "$primary" = "$own" ] || echo "replicaof $primary 6379"
    fi
} > /tmp/redis.conf
exec redis-server /tmp/redis.conf
