"""A real HTTP port over a memory store, and a client that keeps cookies."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from yarl import URL

from coordinator.ports import Clock, Store
from coordinator.service.http.server import HttpServer
from tests.support.plausible_federation import History, seed_plausible
from tests.support.watched_store import WatchedStore

TOKEN = "a-token-of-more-than-sixteen-bytes"


class SettableClock:
    """Implements `coordinator.ports.Clock`; stands still unless moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.wall = time.time()

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclasses.dataclass(slots=True, kw_only=True)
class Port:
    """A started HTTP port; `serving` is what the process behind it says of itself."""

    server: HttpServer
    client: aiohttp.ClientSession
    registry: CollectorRegistry
    serving: bool = True

    @property
    def url(self) -> URL:
        """Address of the page."""
        return URL(f"http://127.0.0.1:{self.server.port}/")


StartPort = Callable[..., Awaitable[Port]]


@pytest.fixture
def clock() -> SettableClock:
    """Time that stands still."""
    return SettableClock()


@pytest.fixture
async def start_port() -> AsyncIterator[StartPort]:
    """Start an HTTP port over a store; with a token for one that can be signed in to."""
    started: list[Port] = []

    async def start_one(store: Store | None, *, token: str = "", clock: Clock | None = None) -> Port:
        registry = CollectorRegistry()
        Counter("alignfed_things", "Things.", registry=registry).inc(3)
        server = HttpServer(registry, token=token.encode() if token else None, clock=clock)
        await server.start("127.0.0.1:0")
        # cookies are for an address here; by default aiohttp keeps those of names only
        client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        port = Port(server=server, client=client, registry=registry)
        if store is not None:
            server.attach(store, is_serving=lambda: port.serving)
        started.append(port)
        return port

    yield start_one
    for port in started:
        await port.client.close()
        await port.server.stop()


@pytest.fixture
async def federation(store: WatchedStore) -> str:
    """A federation with a history, in the memory store."""
    plan = await seed_plausible(store, History(name="fleet-one", now=time.time()))
    return plan.federation


@pytest.fixture
async def port(start_port: StartPort, store: WatchedStore, federation: str) -> Port:
    """A port that shows the federation, to read only."""
    return await start_port(store)
