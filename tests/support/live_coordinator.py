"""A real coordinator in a thread, for tests of synchronous clients: it can be stopped, restarted and merged at will."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

from alignfed.codec import Factors, decode, encode
from alignfed.layout import tensors_at_rank
from alignfed.plan import Encoding, FederationPlan
from coordinator.backends.memory import MemoryStore
from coordinator.domain import (
    Commit,
    DeltaRecord,
    FederationRecord,
    QueuedDelta,
    Receipt,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.ports import Store
from coordinator.service.server import CoordinatorServer, ServiceConfig
from coordinator.signing import Signer
from tests.support.stores import NOW, merge_record, new_agent, store_blob, submit, take_lease

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
CALL_SECONDS = 20.0
OTHER_AGENT = "other-agent"


class LiveCoordinator:
    """Owns an event loop in a thread, a memory store that outlives restarts, and at most one running server."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="coordinator", daemon=True)
        self._thread.start()
        self._server: CoordinatorServer | None = None
        self._port = 0
        self.store: Store = MemoryStore()
        self.signer = Signer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the coordinator's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=CALL_SECONDS)

    @property
    def port(self) -> int:
        """Port for agents; the same after a restart."""
        return self._port

    @property
    def operator_port(self) -> int:
        """Port for operators, of the running server."""
        assert self._server is not None
        return self._server.operator_port

    @property
    def address(self) -> str:
        """Address for agents."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def operator_address(self) -> str:
        """Address for operators, while a server runs."""
        assert self._server is not None, "start a server first"
        return f"{LOOPBACK}:{self._server.operator_port}"

    @property
    def join_address(self) -> str:
        """Address at which machines join, while a server with identities runs."""
        assert self._server is not None
        return f"{LOOPBACK}:{self._server.join_port}"

    def start(self, **settings: Any) -> None:
        """Start a server over the store."""
        config = ServiceConfig(
            agent_listen=f"{LOOPBACK}:{self._port}", operator_listen=f"{LOOPBACK}:0", drain_seconds=2.0
        )
        self._server = CoordinatorServer(self.store, config=dataclasses.replace(config, **settings))
        self.run(self._server.start())
        self._port = self._server.agent_port

    def stop(self) -> None:
        """Cut the server off, as a crash would. Idempotent."""
        if self._server is not None:
            self.run(self._server.stop())
            self._server = None

    def create(self, plan: FederationPlan, adapter: Factors) -> None:
        """Create a federation with `adapter` as version 0."""
        self.run(self._create(plan, adapter))

    def head(self, federation: str) -> VersionId:
        """Return the head's identity."""
        return self.run(self.store.versions.head(federation)).id

    def receipt(self, federation: str, delta_id: str) -> Receipt | None:
        """Return what has become of a delta."""
        return self.run(self.store.deltas.receipt(federation, delta_id))

    def deltas(self, federation: str) -> list[DeltaRecord]:
        """Claim every delta in the queue and return the references, oldest first."""
        return [queued.delta for queued in self.claim(federation)]

    def factors(self, plan: FederationPlan, delta: DeltaRecord) -> Factors:
        """Return an accepted delta's decoded payload, at its rank."""
        return decode(
            self.run(self._payload(delta)),
            tensors_at_rank(plan, delta.rank),
            delta.encoding,
            topk_ratio=plan.topk_ratio,
        )

    def queued(self, federation: str) -> int:
        """Return how many deltas wait."""
        return self.run(self.store.deltas.depth(federation)).queued

    def claim(self, federation: str) -> list[QueuedDelta]:
        """Claim every delta in the queue."""
        return self.run(self._claim(federation))

    def publish(self, plan: FederationPlan, adapter: Factors, *, merged: Sequence[QueuedDelta] = ()) -> VersionId:
        """Publish `adapter` as the next version, as if claimed deltas (by default another agent's) were merged."""
        return self.run(self._publish(plan, adapter, merged))

    def lose_everything(self) -> None:
        """Replace the store with an empty one; stop the server first."""
        assert self._server is None
        self.store = MemoryStore()

    def revoke(self, federation: str, agent_id: str) -> None:
        """Revoke an agent."""
        self.run(self.store.agents.revoke(federation, agent_id))

    async def _create(self, plan: FederationPlan, adapter: Factors) -> None:
        blob = await store_blob(self.store, plan.federation, bytes(encode(adapter, Encoding.FP32)))
        initial = VersionRecord(
            id=VersionId(epoch=0, number=0, digest=blob.sha256),
            kind=VersionKind.INITIAL,
            parent=None,
            adapter=blob,
            created_at=NOW,
        )
        record = FederationRecord(plan=plan, calibration=None, created_at=NOW)
        await self.store.federations.create(record, self.signer.sign(plan.federation, initial, None))

    async def _payload(self, delta: DeltaRecord) -> bytes:
        parts = [await self.store.blobs.get_part(delta.payload.blob_id, index) for index in range(delta.payload.parts)]
        return b"".join(parts)

    async def _claim(self, federation: str) -> list[QueuedDelta]:
        await take_lease(self.store, federation)
        await self.store.deltas.claim(federation, "worker-1", limit=100)
        return await self.store.deltas.reclaim(federation, "worker-1")

    async def _publish(self, plan: FederationPlan, adapter: Factors, merged: Sequence[QueuedDelta]) -> VersionId:
        if not merged:
            await self.store.agents.register(plan.federation, new_agent(OTHER_AGENT))
            filler = await submit(self.store, plan.federation, agent_id=OTHER_AGENT)
            claimed = await self._claim(plan.federation)
            merged = [queued for queued in claimed if queued.delta.delta_id == filler.delta_id]
        token = await take_lease(self.store, plan.federation)
        head = (await self.store.versions.head(plan.federation)).id
        blob = await store_blob(self.store, plan.federation, bytes(encode(adapter, Encoding.FP32)))
        version = VersionRecord(
            id=VersionId(epoch=token, number=head.number + 1, digest=blob.sha256),
            kind=VersionKind.MERGE,
            parent=head.number,
            adapter=blob,
            merge=merge_record(merged),
            created_at=NOW,
        )
        parent = await self.store.versions.get(plan.federation, head.number)
        version = self.signer.sign(plan.federation, version, parent)
        commit = Commit(
            federation=plan.federation, token=token, expected_head=head, version=version, merged=tuple(merged)
        )
        await self.store.versions.commit(commit)
        return version.id
