"""A coordinator whose store forgets payloads: what receiving them costs, apart from what storing them does.

    python -m bench.speed.forgetful AGENTS_PORT OPERATORS_PORT [IDENTITIES]

Everything else is as in every coordinator: options, interceptors, admission, checksums, digests, acknowledgements.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from coordinator.authority.folder import AGENTS, COORDINATOR, AuthorityFolder
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


async def serve(ports: Sequence[int], identities: Path | None) -> None:
    """Serve agents and operators on two ports of this machine until killed; with TLS and identities, if any."""
    keep_freed_memory()
    store = MemoryStore()
    store.blobs = cast("Blobs", _ForgetfulBlobs(store.blobs))
    agents, operators = (f"127.0.0.1:{port}" for port in ports)
    config = ServiceConfig(
        agent_listen=agents,
        operator_listen=operators,
        max_agent_requests_per_second=0,
        max_agent_deltas_per_hour=0,
        max_agent_bytes_per_hour=0,
        max_agent_deltas=_ENDLESS,
        max_agent_bytes=_ENDLESS,
        max_federation_bytes=_ENDLESS,
    )
    if identities is not None:
        folder = AuthorityFolder(identities)
        config = dataclasses.replace(
            config,
            tls_certificate_file=str(folder.certificate(COORDINATOR)),
            tls_key_file=str(folder.key(COORDINATOR)),
            agent_ca_file=str(folder.certificate(AGENTS)),
            operator_ca_file=str(folder.root_certificate),
        )
    server = CoordinatorServer(store, config=config)  # gone with its last reference
    await server.start()
    await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Be the coordinator until killed."""
    agents, operators, *folder = arguments
    asyncio.run(serve((int(agents), int(operators)), Path(folder[0]) if folder else None))


if __name__ == "__main__":
    main(sys.argv[1:])
