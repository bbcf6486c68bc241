"""One primary, two replicas and three Sentinels on loopback, each server behind a fault proxy; ways to fail it over.

Clients come from 127.0.0.1, servers and Sentinels among themselves from another loopback address: so a server can be
cut off from its peers while clients still reach it, which is the partition that makes two primaries of one.
"""

from __future__ import annotations

import contextlib
import random
import re
from types import TracebackType
from typing import Self

from tests.chaos.faults.flows import BLACK_HOLE
from tests.chaos.faults.pauses import pause
from tests.chaos.faults.proxy import FaultProxy
from tests.support.servers import RedisProcess, free_port, running_redis
from tests.support.waiting import wait_until

SERVERS = 3
SENTINELS = 3
SERVICE = "main"
PEERS = "127.0.0.2"
"""Where servers and Sentinels connect from."""
DOWN_AFTER_MILLISECONDS = 1000
FAILOVER_TIMEOUT_MILLISECONDS = 3000
MAX_LAG_SECONDS = 2
"""A primary whose replicas are silent for longer refuses writes."""
FAILOVER_SECONDS = 90.0
HEALTHY_SECONDS = 120.0
KINDS = ("kill", "stop", "cut")
"""Ways for a primary to go: it dies, it is paused and goes on later, or its peers cannot reach it for a while."""


class ReplicatedStore:
    """Owns servers, Sentinels and proxies. Use it as a context manager; stands in for a `KillableStore`.

    Args:
        wait_replicas: What the store URL says; 0 for clients that trust the primary alone.
        seed: How long each fault lasts follows from it.
    """

    def __init__(self, *, wait_replicas: int, seed: int) -> None:
        self._wait_replicas = wait_replicas
        self._chance = random.Random(f"failover {seed}")
        self.servers: list[RedisProcess] = []
        self.proxies: list[FaultProxy] = []
        self._sentinels: list[RedisProcess] = []
        self._stack = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """The store URL, which names the Sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}?timeout_seconds=2&wait_replicas={self._wait_replicas}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            for number in range(SERVERS):
                port = free_port()
                proxy = undo.enter_context(FaultProxy(port, seed=number))
                self.proxies.append(proxy)
                self.servers.append(undo.enter_context(running_redis(_settings(proxy.port), port=port)))
            for server in self.servers[1:]:
                self._follow(server, 0)
            for _ in range(SENTINELS):
                port = free_port()
                config = _sentinel_config(port, self.proxies[0].port)
                sentinel = running_redis({"bind-source-addr": PEERS}, port=port, sentinel_config=config)
                self._sentinels.append(undo.enter_context(sentinel))
            self.wait_healthy()
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def primary(self) -> int | None:
        """Return the server that all Sentinels name, None while they differ."""
        named = {self._named_by(sentinel) for sentinel in self._sentinels}
        return named.pop() if len(named) == 1 else None

    def wait_healthy(self) -> int:
        """Wait until one primary has two replicas that keep up, and everybody knows; return it."""
        whole: list[int] = []
        wait_until(lambda: self._healthy(whole), what="the store is whole again", timeout_seconds=HEALTHY_SECONDS)
        return whole[-1]

    def fail_over(self, kind: str) -> None:
        """Take the primary away in one of `KINDS`, wait until another server is primary, and give it back.

        For a moment before, what it acknowledges does not reach its replicas any more: it will be lost. A server that
        was paused or cut off believes itself the primary when it is back, until a Sentinel corrects it.
        """
        old = self.wait_healthy()
        server, proxy = self.servers[old], self.proxies[old]
        proxy.set(BLACK_HOLE, source=PEERS)
        pause(self._chance.uniform(0.1, 0.8))
        with contextlib.ExitStack() as back:
            if kind == "kill":
                server.kill()
            elif kind == "stop":
                back.enter_context(server.frozen())
            self._wait_for_another(old, kind)
            pause(self._chance.uniform(0.0, 1.5))
        proxy.heal()
        proxy.reset(source=PEERS)
        if kind == "kill":
            server.start()
            server.wait_until_ready()
            self._follow(server, self._wait_for_another(old, kind))

    def heads(self, key: str) -> dict[int, str]:
        """Return what each server that answers holds as the head of the federation whose hash is `key`."""
        found = {}
        for number, server in enumerate(self.servers):
            with contextlib.suppress(OSError):
                lines = server.command("HGET", key, "head").split("\r\n")
                if lines[0].startswith("$") and lines[0] != "$-1":
                    found[number] = lines[1]
        return found

    def _wait_for_another(self, old: int, kind: str) -> int:
        """Wait until all Sentinels name one server that is not `old`, and return it."""
        named: list[int] = []

        def another() -> bool:
            primary = self.primary()
            if primary is not None and primary != old:
                named.append(primary)
            return bool(named)

        wait_until(another, what=f"another server is primary after {kind}", timeout_seconds=FAILOVER_SECONDS)
        return named[-1]

    def _follow(self, server: RedisProcess, primary: int) -> None:
        answer = server.command("REPLICAOF", "127.0.0.1", str(self.proxies[primary].port))
        assert answer.startswith("+OK"), answer

    def _named_by(self, sentinel: RedisProcess) -> int | None:
        try:
            answer = sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        except OSError:  # a busy machine
            return None
        ports = [proxy.port for proxy in self.proxies]
        found = re.search(r"\r\n(\d+)\r\n$", answer)
        return ports.index(int(found[1])) if found and int(found[1]) in ports else None

    def _healthy(self, whole: list[int]) -> bool:
        """Whether everybody agrees on one primary that is whole; it is appended to `whole` then."""
        primary = self.primary()
        if primary is None:
            return False
        try:
            facts = self.servers[primary].command("INFO", "replication")
            seen = [sentinel.command("SENTINEL", "MASTER", SERVICE).split("\r\n") for sentinel in self._sentinels]
        except OSError:
            return False
        keeping_up = re.findall(r"state=online,offset=\d+,lag=[01]\b", facts)
        healthy = (
            "role:master" in facts
            and len(keeping_up) == SERVERS - 1
            and all(_value(facts, "flags") == "master" for facts in seen)
            and all(_value(facts, "num-other-sentinels") == str(SENTINELS - 1) for facts in seen)
            and all(_value(facts, "num-slaves") == str(SERVERS - 1) for facts in seen)
        )
        if healthy:
            whole.append(primary)
        return healthy


def _value(reply: list[str], name: str) -> str | None:
    """Return the value of a field in a flat reply, split into its lines: name, length of the value, value."""
    values = dict(zip(reply[2::4], reply[4::4], strict=False))
    return values.get(name)


def _settings(announced_port: int) -> dict[str, str]:
    return {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "bind-source-addr": PEERS,
        "replica-announce-ip": "127.0.0.1",
        "replica-announce-port": str(announced_port),
        "repl-diskless-sync-delay": "0",
        "repl-ping-replica-period": "1",
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": str(MAX_LAG_SECONDS),
    }


def _sentinel_config(port: int, primary_port: int) -> str:
    lines = [
        "sentinel announce-ip 127.0.0.1",
        f"sentinel announce-port {port}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {SENTINELS // 2 + 1}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MILLISECONDS}",
        f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MILLISECONDS}",
        f"sentinel parallel-syncs {SERVICE} {SERVERS - 1}",
    ]
    return "".join(f"{line}\n" for line in lines)
