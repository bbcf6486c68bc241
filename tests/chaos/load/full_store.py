"""A store that fills up under uploads, in memory or on disk: what clients are told, and what is there afterwards."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from alignfed.chunks import sha256_of
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.domain import DeltaState, VersionId, delta_blob_id
from coordinator.ports import Store
from tests.support.raw_client import RawClient, Refusal, WireDelta, refusal_of, wire_plan
from tests.support.stores import seed_federation

FEDERATION = "full"
AGENTS = [f"agent-{number}" for number in range(1, 21)]
COLUMNS = 1 << 15
CHUNK_BYTES = 1 << 15
MOST_UPLOADS = 1000


class FillingUp:
    """Agents that upload to one coordinator until they are refused.

    Args:
        client: Of the coordinator.
        plan: Their federation.
        base: Its head.
    """

    def __init__(self, client: RawClient, plan: FederationPlan, base: VersionId) -> None:
        self._client = client
        self._plan = plan
        self._base = base
        self.acknowledged: list[WireDelta] = []

    def delta(self) -> WireDelta:
        """Return the next delta."""
        number = len(self.acknowledged)
        return WireDelta.of(self._plan, self._base, agent_id=AGENTS[number % len(AGENTS)], seed=number)

    async def upload(self, delta: WireDelta, *, offset: int = 0) -> None:
        """Upload one delta."""
        await self._client.submit(delta.messages(offset), timeout=60)
        self.acknowledged.append(delta)

    async def until_refused(self) -> tuple[WireDelta, Refusal]:
        """Upload until a delta is refused, and return it and what its agent was told."""
        for _ in range(MOST_UPLOADS):
            delta = self.delta()
            try:
                await self.upload(delta)
            except grpc.RpcError as error:
                return delta, refusal_of(error)
        raise AssertionError("the store takes everything")

    async def goes_through(self, delta: WireDelta) -> bool:
        """Try to upload a delta, from where the coordinator has it; return whether it was taken."""
        try:
            asked = await self._client.query(delta)
            if asked.HasField("receipt"):
                self.acknowledged.append(delta)
            else:
                await self.upload(delta, offset=asked.resume_offset)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
                raise
            return False
        return True

    async def poll(self) -> int:
        """Ask for the head, and return its number."""
        request = pb.GetGlobalVersionRequest(federation=FEDERATION, agent_id=AGENTS[0])
        return int((await self._client.agents.GetGlobalVersion(request, timeout=20)).status.head.number)

    async def missing(self, store: Store) -> list[str]:
        """Return what was acknowledged and is not there, whole and queued or merged."""
        return [delta.delta_id for delta in self.acknowledged if not await _is_there(store, delta)]


async def _is_there(store: Store, delta: WireDelta) -> bool:
    receipt = await store.deltas.receipt(FEDERATION, delta.delta_id)
    if receipt is None or receipt.state is DeltaState.REJECTED:
        return False
    if receipt.state is DeltaState.MERGED:
        return True
    blob_id = delta_blob_id(FEDERATION, delta.agent_id, delta.delta_id, sha256=delta.sha256)
    parts = -(-len(delta.payload) // CHUNK_BYTES)
    if await store.blobs.stored_parts(blob_id, parts) < parts:
        return False
    payload = b"".join([await store.blobs.get_part(blob_id, index) for index in range(parts)])
    return sha256_of(payload) == delta.sha256


async def fill_from(store: Store, client: RawClient) -> FillingUp:
    """Create the federation and return agents that fill the store."""
    plan = await seed_federation(
        store, wire_plan(FEDERATION, columns=COLUMNS, chunk_bytes=CHUNK_BYTES, max_queue_deltas=10**6), agents=AGENTS
    )
    return FillingUp(client, plan, (await store.versions.head(FEDERATION)).id)


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a file system of that size on a folder until the block ends. Needs root.

    Raises:
        PermissionError: It may not be mounted here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield folder
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
