"""What a process sees of the store: whether it answers, how fast, and how full it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, Gauge, Histogram

from alignfed.errors import AlignFedError
from coordinator.domain import StoreMemory
from coordinator.ports import Clock, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often the store is asked: no oftener than it is scraped, and one cheap command."""

ANSWER_SECONDS = 5.0
"""A store that takes longer for that command counts as away."""

CALL_BUCKETS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


class StoreMetrics:
    """The store's metrics, the same in every process, registered with the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Histogram(
            "alignfed_store_command_duration_seconds",
            "Time of one call to the store's server, retries included.",
            ["op"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._used = Gauge(
            "alignfed_store_memory_used_bytes",
            "Memory the store uses; of a Cluster, its fullest server. Keeps its last value while the store is away.",
            registry=registry,
        )
        self._limit = Gauge(
            "alignfed_store_memory_limit_bytes",
            "Memory the store may use (`maxmemory`), of the same server; 0: no limit.",
            registry=registry,
        )
        self._connected = Gauge(
            "alignfed_store_connected", "Whether the store answered this process lately: 1 or 0.", registry=registry
        )

    def observe_call(self, op: str, seconds: float) -> None:
        """Record one call. `op` is the name of a command or script, of which the store's backend has a fixed set."""
        self._calls.labels(op).observe(seconds)

    def answered(self, memory: StoreMemory) -> None:
        """Record that the store answers, and how full it is."""
        self._connected.set(1)
        self._used.set(memory.used_bytes)
        self._limit.set(memory.limit_bytes)

    def away(self) -> None:
        """Record that the store does not answer."""
        self._connected.set(0)


async def look_at_store(store: Store, metrics: StoreMetrics) -> None:
    """Ask the store once and record what it says; never raises, whatever the store does."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            metrics.answered(await store.memory())
    except (AlignFedError, TimeoutError) as error:
        log.debug("the store does not tell its memory: %s", error)
        metrics.away()
    except Exception:
        log.exception("the store's memory is not known")
        metrics.away()


@contextlib.asynccontextmanager
async def store_watched(store: Store, metrics: StoreMetrics, clock: Clock) -> AsyncIterator[None]:
    """Look at the store now and then, in the background, while the body runs."""

    async def watch() -> None:
        while True:
            await look_at_store(store, metrics)
            await clock.sleep(LOOK_SECONDS)

    task = asyncio.create_task(watch(), name="store-metrics")
    try:
        yield
    finally:
        while not task.done():  # again and again: a store's client library may swallow a cancellation as it connects
            task.cancel()
            await asyncio.wait({task}, timeout=0.5)
