"""A store in Redis 7.0+ or Valkey 8+: standalone, behind Sentinel, or a Cluster.

One file per port; the steps that must be atomic are the scripts in `scripts/`, each with its keys and arguments at the
top. `keys` is the data model, `calls` the one way to the server, `translation` the one place that knows its errors.
"""

from coordinator.backends.redis.store import RedisStore

__all__ = ["RedisStore"]
