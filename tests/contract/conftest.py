"""Every contract test runs against every backend: memory, embedded Valkey, Debian's Redis, a Cluster, and Valkey with
payloads in files.

Servers start once per session and are shared; tests keep apart by the names of their federations and blobs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.support.owners import unowned
from tests.support.servers import memory_folder, running_cluster, running_redis

BACKENDS = ["memory", "valkey", "redis", "cluster", "files"]


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


@pytest.fixture(scope="session")
def files_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: a store has its payloads in one place."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey-of-files")) as server:
        yield server.url


@pytest.fixture(scope="session")
def blob_folder() -> Iterator[Path]:
    """In memory where that can be had: forcing thousands of small files to a disk takes minutes."""
    with tempfile.TemporaryDirectory(prefix="alignfed-test-", dir=memory_folder()) as folder:
        yield Path(folder)


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def blob_url(request: pytest.FixtureRequest, store_url: str, blob_folder: Path) -> str:
    """Where payloads are kept; empty for in the store."""
    return blob_folder.as_uri() if request.node.callspec.params["store_url"] == "files" else ""


@pytest.fixture
async def store(store_url: str, blob_url: str) -> AsyncIterator[Store]:
    opened = open_store(store_url, blob_url=blob_url)
    yield opened
    leaked = await unowned(opened) if store_url == "memory://" else set()  # others are looked at as they are closed
    # payloads of federations that never came to be have a lifetime, and would be counted by another test's sweep
    await opened.blobs.sweep("nobody", unclaimed_before=sys.float_info.max)
    await opened.close()
    assert not leaked, f"this test left what nothing owns: {sorted(leaked)}"
