"""A coordinator whose store forgets payloads: what receiving them costs, apart from what storing them does.

    python -m bench.speed.forgetful AGENTS_PORT OPERATORS_PORT [CERTIFICATE KEY]

Everything else is as in every coordinator: options, interceptors, admission, checksums, digests, acknowledgements.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, cast

from coordinator.backends.memory import MemoryStore
from coordinator.ports import Blobs
from coordinator.service.allocator import keep_freed_memory
from coordinator.service.config import ServiceConfig
from coordinator.service.server import CoordinatorServer

_ENDLESS = 1 << 50
"""Nothing is merged here, so quotas would end the measurement."""


class _ForgetfulBlobs:
    """Another store's blobs, whose parts are empty."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put_part(self, blob_id: str, index: int, data: bytes) -> None:
        """See the port; the part counts as stored."""
        del data
        await self._blobs.put_part(blob_id, index, b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)


async def serve(ports: Sequence[int], *, certificate: str = "", key: str = "") -> None:
    """Serve agents and operators on two ports of this machine until killed; encrypted if there is a certificate."""
    keep_freed_memory()
    store = MemoryStore()
    store.blobs = cast("Blobs", _ForgetfulBlobs(store.blobs))
    agents, operators = (f"127.0.0.1:{port}" for port in ports)
    config = ServiceConfig(
        agent_listen=agents,
        operator_listen=operators,
        tls_certificate_file=certificate,
        tls_key_file=key,
        max_agent_deltas=_ENDLESS,
        max_agent_bytes=_ENDLESS,
        max_federation_bytes=_ENDLESS,
    )
    server = CoordinatorServer(store, config=config)  # gone with its last reference
    await server.start()
    await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Be the coordinator until killed."""
    agents, operators, *files = arguments
    certificate, key = files or ("", "")
    asyncio.run(serve((int(agents), int(operators)), certificate=certificate, key=key))


if __name__ == "__main__":
    main(sys.argv[1:])
