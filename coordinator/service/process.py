"""One coordinator process: opens the store, serves until it is told to stop, drains, closes."""

from __future__ import annotations

import asyncio
import signal

from alignfed.exposition import new_registry
from alignfed.tracing.spans import Tracer
from coordinator.backends.opening import opened_store
from coordinator.clock import SystemClock
from coordinator.service.allocator import keep_freed_memory
from coordinator.service.config import ServiceConfig
from coordinator.service.http.server import http_served
from coordinator.service.http.settings import HttpConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.server import CoordinatorServer
from coordinator.store_metrics import store_watched


async def run(
    config: ServiceConfig,
    store_url: str,
    metrics_listen: str,
    *,
    blob_url: str = "",
    status_token_file: str = "",
    tracer: Tracer | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        config: Addresses and limits.
        store_url: Where the store is; see `coordinator.backends.urls.open_store`.
        metrics_listen: Address of `/metrics` and the status page, such as `127.0.0.1:9464`; empty for none.
        blob_url: Where payloads are kept; empty for in the store.
        status_token_file: Secret for signing in to the status page; empty for a page that can only be read.
        tracer: Makes spans; None for none.

    Raises:
        StoreUnreachable: The store did not answer within `config.store_patience_seconds`.
        StoreUnsafe: The store could lose deltas.
        RequestInvalid: The URL, an address or the token file cannot be used.
    """
    keep_freed_memory()
    registry = new_registry("coordinator")
    metrics = ServiceMetrics(registry)
    config.check()
    async with (
        http_served(registry, HttpConfig(listen=metrics_listen, token_file=status_token_file)) as http,
        opened_store(
            store_url,
            blob_url=blob_url,
            patience_seconds=config.store_patience_seconds,
            observe=metrics.store.observe_call,
        ) as store,
        store_watched(store, metrics.store, SystemClock()),
    ):
        stop = _stop_on_signals()  # before, a signal simply ends the process: there is nothing to drain
        server = CoordinatorServer(store, config=config, metrics=metrics, tracer=tracer)
        if http is not None:
            http.attach(store, is_serving=lambda: server.serving)
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
