"""Opens a store by its URL: the one place that knows all backends."""

from __future__ import annotations

from alignfed.errors import RequestInvalid
from coordinator.backends.memory import MemoryStore
from coordinator.backends.objects.opening import open_objects
from coordinator.backends.redis.address import Topology, parse_address, redact_url
from coordinator.backends.redis.calls import Observer
from coordinator.backends.redis.store import RedisStore
from coordinator.ports import Store

__all__ = ["open_store", "redact_url"]


def open_store(url: str, *, blob_url: str = "", observe: Observer | None = None) -> Store:
    """Return the store behind a URL; `coordinator.backends.redis.address` shows the forms. Nothing connects yet.

    Args:
        url: Such as `redis://localhost:6379`; passwords may stand in it or in a file that it names.
        blob_url: Where payloads are kept; `coordinator.backends.objects.place` shows the forms. Empty for in the store.
        observe: Told the name and the seconds of every call to the server; for metrics.

    Raises:
        RequestInvalid: A URL cannot be used; the message says why and hides its password.
    """
    address = parse_address(url)
    if address.topology is Topology.MEMORY:
        if blob_url:
            raise RequestInvalid("a store in memory keeps its payloads itself: leave --blob-url out")
        return MemoryStore()
    return RedisStore(address, objects=open_objects(blob_url) if blob_url else None, observe=observe)
