"""How a coordinator, its store and the leadership of its federations are: what `alignfed doctor` asks for."""

from __future__ import annotations

import asyncio
import dataclasses

from alignfed.errors import AlignFedError, StoreUnsafe
from coordinator.domain import BlobRef, StoreServer
from coordinator.ports import Clock, Store

PATIENCE_SECONDS = 5.0
"""A store that needs longer for a few reads is in trouble, and whoever asks wants to hear of it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationHealth:
    """Whether a federation can go on; see `FederationHealth` in operator_service.proto."""

    federation: str
    worker_id: str
    lease_left_seconds: float
    paused: bool
    head_stored: bool
    calibration_wanted: bool
    calibration_stored: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found; `store_problem` says in words why the store could not be asked or is unsafe, empty if neither.

    `at` is this process's clock in Unix seconds, read when the store's servers told theirs.
    """

    at: float
    store: tuple[StoreServer, ...] = ()
    store_problem: str = ""
    federations: tuple[FederationHealth, ...] = ()


async def inspect(store: Store, clock: Clock, *, patience_seconds: float = PATIENCE_SECONDS) -> Inspection:
    """Look at the store and at every federation. Reads only; a store that is away is a finding, not an error.

    Args:
        store: What is looked at.
        clock: This process's time.
        patience_seconds: How long the store may take for everything.
    """
    found = Inspection(at=clock.now())
    try:
        async with asyncio.timeout(patience_seconds):
            servers = tuple(await store.inspect())
            found = Inspection(at=clock.now(), store=servers, store_problem=await _unsafe(store))
            names = await store.federations.names()
            healths = [await health_of(store, name) for name in names]
            return dataclasses.replace(found, federations=tuple(healths))
    except TimeoutError:
        problem = f"the store did not answer within {patience_seconds:g} s: see its log and load"
    except AlignFedError as error:
        problem = error.message
    return dataclasses.replace(found, store_problem=found.store_problem or problem)


async def _unsafe(store: Store) -> str:
    """Return why the store could lose deltas; empty when it is safe."""
    try:
        await store.check()
    except StoreUnsafe as error:
        return error.message
    return ""


async def health_of(store: Store, federation: str) -> FederationHealth:
    """Return whether one federation can go on.

    Raises:
        UnknownFederation: It does not exist.
    """
    record = await store.federations.get(federation)
    head = await store.versions.head(federation)
    version = await store.versions.get(federation, head.id.number)
    holder = await store.leases.holder(federation)
    wanted = record.plan.calibration
    return FederationHealth(
        federation=federation,
        worker_id="" if holder is None else holder.worker_id,
        lease_left_seconds=0.0 if holder is None else holder.seconds_left,
        paused=head.paused,
        head_stored=await _stored(store, version.adapter),
        calibration_wanted=wanted.fit_rows + wanted.judge_rows > 0,
        calibration_stored=record.calibration is not None and await _stored(store, record.calibration),
    )


async def _stored(store: Store, blob: BlobRef) -> bool:
    return await store.blobs.stored_parts(blob.blob_id, blob.parts) == blob.parts
