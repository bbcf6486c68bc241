#!/bin/sh
# Starts a Sentinel that watches the store named alignfed and promotes the replica when two of three agree.
set -eu
umask 077
cat > /tmp/sentinel.conf <<CONFIGURATION
port 26379
dir /tmp
protected-mode no
sentinel monitor alignfed $PRIMARY 6379 2
sentinel auth-pass alignfed $(cat /run/secrets/store_password)
sentinel down-after-milliseconds alignfed 5000
sentinel failover-timeout alignfed 30000
CONFIGURATION
exec redis-sentinel /tmp/sentinel.conf
