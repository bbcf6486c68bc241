"""One coordinator process: opens the store, serves until it is told to stop, drains, closes."""

from __future__ import annotations

import asyncio
import signal

from alignfed.exposition import metrics_served, new_registry
from coordinator.backends.opening import opened_store
from coordinator.service.config import ServiceConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.server import CoordinatorServer


async def run(config: ServiceConfig, store_url: str, metrics_listen: str) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        config: Addresses and limits.
        store_url: Where the store is; see `coordinator.backends.urls.open_store`.
        metrics_listen: Address of `/metrics`, such as `127.0.0.1:7302`; empty for none.

    Raises:
        StoreUnreachable: The store did not answer within `config.store_patience_seconds`.
        StoreUnsafe: The store could lose deltas.
        RequestInvalid: The URL or an address cannot be used.
    """
    registry = new_registry("coordinator")
    metrics = ServiceMetrics(registry)
    async with opened_store(
        store_url,
        patience_seconds=config.store_patience_seconds,
        observe=lambda op, seconds: metrics.store_command_seconds.labels(op).observe(seconds),
    ) as store:
        stop = _stop_on_signals()  # before, a signal simply ends the process: there is nothing to drain
        with metrics_served(registry, metrics_listen):
            server = CoordinatorServer(store, config=config, metrics=metrics)
            try:
                await server.start()
                await stop.wait()
                await server.drain()
            finally:
                await server.stop()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
