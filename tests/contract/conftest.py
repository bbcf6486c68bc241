"""Every contract test runs against every backend: memory, embedded Valkey, Debian's Redis, and a Redis Cluster.

Servers start once per session and are shared; tests keep apart by the names of their federations and blobs.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.support.owners import unowned
from tests.support.servers import running_cluster, running_redis

BACKENDS = ["memory", "valkey", "redis", "cluster"]


@pytest.fixture(scope="session")
def memory_url() -> str:
    return "memory://"


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    with EmbeddedValkey(folder) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with running_redis({"appendonly": "yes", "appendfsync": "no"}) as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    with running_cluster() as url:
        yield url


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = open_store(store_url)
    yield opened
    leaked = await unowned(opened) if store_url == "memory://" else set()  # others are looked at as they are closed
    # payloads of federations that never came to be have a lifetime, and would be counted by another test's sweep
    await opened.blobs.sweep("nobody", unclaimed_before=sys.float_info.max)
    await opened.close()
    assert not leaked, f"this test left what nothing owns: {sorted(leaked)}"
