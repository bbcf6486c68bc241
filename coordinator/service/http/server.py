"""The HTTP server: assembled, started and stopped with the process, in its event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from alignfed.errors import RequestInvalid
from alignfed.settings import parse_listen
from coordinator.clock import SystemClock
from coordinator.ports import Clock, Store
from coordinator.service.http.answers import add_headers, errors_as_json
from coordinator.service.http.assets import Assets
from coordinator.service.http.control import Control
from coordinator.service.http.reading import Pages
from coordinator.service.http.sessions import Sessions
from coordinator.service.http.settings import HttpConfig, read_token

logger = logging.getLogger(__name__)

_MAX_REQUEST_BYTES = 8 * 1024
_STOP_SECONDS = 1.0
"""Answers are short: what is not sent by then is cut."""
_ACCEPT_SECONDS = 0.02
_LOOPBACK = ("127.", "localhost", "::1")


class HttpServer:
    """Tells how the process is, from before it serves until after it has drained.

    Args:
        registry: What `/metrics` shows.
        token: Secret for signing in to the status page; None for a page that can only be read.
        clock: Time; the real one unless a test brings its own.
    """

    def __init__(self, registry: CollectorRegistry, *, token: bytes | None = None, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._is_serving: Callable[[], bool] = lambda: False
        self._pages = Pages(clock)
        control = Control(Sessions(token, clock) if token is not None else None, self._pages)
        app = web.Application(middlewares=[errors_as_json], client_max_size=_MAX_REQUEST_BYTES)
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/metrics", make_aiohttp_handler(registry))
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        for part in (Assets(), self._pages, control):
            part.add_routes(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        self.port = 0

    async def start(self, listen: str) -> None:
        """Listen on `host:port`; port 0 picks a free one, which `port` tells.

        Raises:
            RequestInvalid: The address is malformed or taken.
        """
        host, port = parse_listen(listen)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise RequestInvalid(
                f"cannot serve metrics on {listen} ({error}): set another metrics-listen address"
            ) from error
        self.port = self._runner.addresses[0][1]

    def attach(self, store: Store, *, is_serving: Callable[[], bool]) -> None:
        """Show what is in `store`, and be ready for as long as `is_serving()` says so."""
        self._pages.open(store)
        self._is_serving = is_serving

    async def stop(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        for site in list(self._runner.sites):
            await site.stop()
            await asyncio.sleep(_ACCEPT_SECONDS)  # whoever was just accepted has to be known to be closed
        await self._runner.cleanup()

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer: the process is alive."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer whether the process takes work: not before it serves, nor once it drains."""
        if self._is_serving():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: starting or draining\n")


@asynccontextmanager
async def http_served(registry: CollectorRegistry, config: HttpConfig) -> AsyncIterator[HttpServer | None]:
    """Serve while the body runs and yield the server; an empty address serves nothing.

    Raises:
        RequestInvalid: The address is malformed or taken, or the token file cannot be used.
    """
    if not config.listen:
        if config.token_file:
            raise RequestInvalid("status-token-file is for the page on metrics-listen, which is empty: set an address")
        yield None
        return
    server = HttpServer(registry, token=read_token(config.token_file) if config.token_file else None)
    try:
        await server.start(config.listen)
        logger.info("metrics and status page on port %d", server.port)
        if config.token_file and not parse_listen(config.listen)[0].startswith(_LOOPBACK):
            logger.warning("tokens travel to %s unencrypted: put a proxy with TLS in front of it", config.listen)
        yield server
    finally:
        await server.stop()
