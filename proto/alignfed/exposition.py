"""A Prometheus `/metrics` port for one process."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Info, start_http_server
from prometheus_client.process_collector import ProcessCollector

from alignfed import __version__
from alignfed.errors import RequestInvalid
from alignfed.settings import parse_listen

log = logging.getLogger(__name__)


def new_registry(component: str) -> CollectorRegistry:
    """Return a registry that already tells what runs: `alignfed_build_info{component, version}` and process figures."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("alignfed_build", "What runs here: a gauge that is always 1.", registry=registry)
    build.info({"component": component, "version": __version__, "python": platform.python_version()})
    return registry


def serve_metrics(registry: CollectorRegistry, listen: str) -> tuple[int, Callable[[], None]]:
    """Serve `registry` over HTTP in a background thread.

    Args:
        registry: What to serve.
        listen: `host:port`; port 0 picks a free one.

    Returns:
        The bound port, and a function that stops serving.

    Raises:
        RequestInvalid: The address is malformed or taken.
    """
    host, port = parse_listen(listen)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise RequestInvalid(
            f"cannot serve metrics on {listen} ({error}): set another metrics-listen address"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop


@contextmanager
def metrics_served(registry: CollectorRegistry, listen: str) -> Iterator[int | None]:
    """Serve `registry` while the body runs, and yield the bound port; an empty `listen` serves nothing.

    Raises:
        RequestInvalid: The address is malformed or taken.
    """
    if not listen:
        yield None
        return
    port, stop = serve_metrics(registry, listen)
    log.info("metrics on port %d", port)
    try:
        yield port
    finally:
        stop()
