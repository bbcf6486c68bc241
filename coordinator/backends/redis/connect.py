"""Opens connections to a parsed address."""

from __future__ import annotations

import random
import socket
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from coordinator.backends.redis.address import Credentials, StoreAddress, Tls, Topology
from coordinator.backends.redis.calls import ClientT

HEALTH_CHECK_SECONDS = 30
"""A connection idle for longer is tested before it is used: firewalls drop idle connections silently."""

SEND_BUFFER_BYTES = 2 << 20
"""What a Unix socket takes at once: a part of a payload, where the default takes a fifth of one and asyncio copies the
rest three times. The kernel may allow less. TCP sizes its buffers by itself, better than any number would."""


class Connections:
    """The clients of one store. Nothing connects before the first command.

    Args:
        address: Where the store is; not MEMORY.
    """

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._sentinel = _sentinel(address) if address.topology is Topology.SENTINEL else None
        self.client: ClientT = self._open(health_check_interval=HEALTH_CHECK_SECONDS)

    def open_feed_client(self) -> Redis:
        """Return a client for one subscription, which the caller closes.

        Any node of a Cluster will do, since they pass messages on; the next subscription tries another one.
        """
        if self._address.topology is not Topology.CLUSTER:
            client = self._open(health_check_interval=0)
            assert isinstance(client, Redis)
            return client
        host, port = random.choice(self._address.hosts)  # noqa: S311 (spreads load, keeps no secret)
        return Redis(host=host, port=port, **_options(self._address))

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self.client.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel is not None else ():
            await sentinel.aclose()

    def _open(self, *, health_check_interval: int) -> ClientT:
        address = self._address
        options = {**_options(address), "health_check_interval": health_check_interval}
        if self._sentinel is not None:
            client: ClientT = self._sentinel.master_for(address.service, db=address.db, **options)
            return client
        if address.topology is Topology.CLUSTER:
            return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in address.hosts], **options)
        if address.topology is Topology.UNIX:
            return Redis(unix_socket_path=address.path, db=address.db, redis_connect_func=_connect_roomy, **options)
        host, port = address.hosts[0]
        return Redis(host=host, port=port, db=address.db, **options)


async def _connect_roomy(connection: Any) -> None:
    """Do what a new connection does first, and give it room."""
    await connection.on_connect()
    writer = connection._writer  # noqa: SLF001 (there is no public way to the socket of a Unix connection)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _sentinel(address: StoreAddress) -> Sentinel:
    options = _common(address.sentinel_login, address.tls, address.timeout_seconds)
    return Sentinel(list(address.hosts), sentinel_kwargs=options)  # type: ignore[no-untyped-call]


def _options(address: StoreAddress) -> dict[str, Any]:
    return _common(address.login, address.tls, address.timeout_seconds)


def _common(login: Credentials, tls: Tls | None, timeout_seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": login.username,
        "password": login.password,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),  # `calls` retries, and only what may be repeated
        "protocol": 2,  # one shape of replies for every supported server and redis-py
    }
    if tls is not None:
        options |= {
            "ssl": True,
            "ssl_ca_certs": tls.ca_file,
            "ssl_certfile": tls.cert_file,
            "ssl_keyfile": tls.key_file,
        }
    return options
