"""Uploads of deltas: announced, admitted, stored part by part, checked as a whole, made durable, acknowledged."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress

from alignfed.chunks import ChunkData
from alignfed.errors import (
    HeaderMissing,
    HeaderRepeated,
    PayloadDigestMismatch,
    Rejected,
    Unavailable,
    UploadStalled,
)
from alignfed.tracing.spans import Tracer, current_traceparent, span
from coordinator.domain import BlobRef, DeltaRecord, Receipt, VersionId
from coordinator.ports import Clock, Store
from coordinator.service.admission import DeltaHeader, DeltaRef
from coordinator.service.bounds import DrainSwitch, store_silent, within
from coordinator.service.caches.heads import HeadCache
from coordinator.service.caches.plans import KnownFederation, Plans
from coordinator.service.caches.store_room import StoreRoom
from coordinator.service.caches.unfinished import Unfinished
from coordinator.service.config import ServiceConfig
from coordinator.service.transfers.gate import UploadGate
from coordinator.service.transfers.payloads import PayloadWriter
from coordinator.service.transfers.turns import Turn, Turns
from coordinator.service.transfers.upload_journal import UploadEntry, UploadJournal
from coordinator.service.transfers.welcome import Welcome

UploadMessage = DeltaHeader | ChunkData

_DEADLINE_MARGIN_SECONDS = 0.5  # leaves time to answer UPLOADS_BUSY before the client's deadline ends the RPC bare


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A durable delta's receipt, and its federation."""

    federation: str
    receipt: Receipt


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadPorts:
    """What uploads ask and where they go."""

    store: Store
    clock: Clock
    plans: Plans
    heads: HeadCache
    welcome: Welcome
    unfinished: Unfinished
    store_room: StoreRoom
    journal: UploadJournal
    drain: DrainSwitch
    tracer: Tracer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """A delta whose header was let in, and the bytes its payload must begin with."""

    delta: DeltaRecord
    prefix: bytes

    @classmethod
    def of(cls, header: DeltaHeader, known: KnownFederation) -> _Admitted:
        delta = DeltaRecord(
            federation=header.federation,
            agent_id=header.agent_id,
            delta_id=header.delta_id,
            base=header.base,
            examples=header.examples,
            local_steps=header.local_steps,
            encoding=known.plan.delta_encoding,
            rank=header.rank,
            payload=_blob_of(header.ref, known, rank=header.rank),
            accepted_at=0.0,  # set when it is
        )
        return cls(delta=delta, prefix=known.delta_form(header.rank).layout.prefix)


class Uploads:
    """Receives deltas in bounded memory, one chunk of each at a time; stores a bounded number of chunks at a time."""

    def __init__(self, ports: UploadPorts, config: ServiceConfig) -> None:
        self._ports = ports
        self._config = config
        self._turns = Turns(config.max_active_uploads)
        self._gate = UploadGate(
            memory_bytes=config.upload_memory_bytes,
            line=config.max_waiting_uploads,
            per_agent=config.max_agent_uploads,
            grace_seconds=config.stalled_grace_seconds,
        )

    async def query(self, ref: DeltaRef, *, rank: int = 0, base: VersionId | None = None) -> Receipt | int:
        """Return the delta's receipt, or the offset where its upload resumes (0 when nothing is held).

        Args:
            ref: The delta.
            rank: Its LoRA rank; 0 for the plan's.
            base: Its base version, of who is about to upload it and wants to know whether it would be taken.

        Raises:
            UnknownFederation, UnknownAgent, AgentRevoked, HeaderInvalid, DeltaIdConflict: See `Welcome.known`.
            RankMismatch: The plan takes no deltas of that rank.
            Rejected, QueueFull, AgentOverQuota: A delta of `base` would be refused; see `Welcome.check_wanted`.
        """
        known = await self._ports.plans.get(ref.federation)
        receipt = await self._ports.welcome.known(ref)
        if receipt is not None:
            return receipt
        if base is not None:
            with self._ports.journal.averting(ref.federation):
                await self._ports.welcome.check_wanted(ref, base, known)
        blob = _blob_of(ref, known, rank=rank or known.plan.lora.rank)
        parts = await self._ports.store.blobs.stored_parts(blob.blob_id, blob.parts)
        return min(parts * blob.part_bytes, blob.total_bytes)

    async def submit(
        self, messages: AsyncIterator[UploadMessage], *, deadline_seconds: float | None
    ) -> Acknowledgement:
        """Receive one delta.

        Args:
            messages: The header, then chunks in order.
            deadline_seconds: Time until the client gives up; None when it never does.

        Returns:
            The durable acknowledgement; for a delta that was accepted before, its first one, without its payload.

        Raises:
            Rejected: The header, a chunk or the payload is not what it must be.
            Unavailable: No slot, no room, no store or no progress; what arrived stays for resumption.
        """
        with self._ports.journal.upload() as entry:
            self._ports.drain.check()
            header = await self._header(messages)
            async with self._store_answers():
                known = await self._ports.plans.get(header.federation)
            entry.name(header.ref)
            with span(self._ports.tracer, "admit delta"):
                async with self._store_answers():
                    receipt = await self._admit(header, known)
            if receipt is not None:
                entry.duplicate()
                return Acknowledgement(federation=header.federation, receipt=receipt)
            upload = _Admitted.of(header, known)
            del header  # with its manifest: nothing but the reference is kept while the upload waits and runs
            delta = upload.delta
            async with self._gate.open(
                (delta.federation, delta.agent_id),
                min(delta.payload.part_bytes, delta.payload.total_bytes),
                wait_seconds=self._patience(deadline_seconds),
            ):
                self._ports.drain.check()
                with entry.in_progress():
                    delta = await self._receive(upload, messages, entry)
                    receipt = await self._accept(delta, entry)
            return Acknowledgement(federation=upload.delta.federation, receipt=receipt)

    async def _header(self, messages: AsyncIterator[UploadMessage]) -> DeltaHeader:
        seconds = self._config.progress_timeout_seconds
        async with within(seconds, lambda: _stalled(seconds)):
            message = await anext(messages, None)
        if not isinstance(message, DeltaHeader):
            what = "ended" if message is None else "began with a chunk"
            raise HeaderMissing(f"the upload {what} before its header: send the header first")
        return message

    async def _admit(self, header: DeltaHeader, known: KnownFederation) -> Receipt | None:
        """Check everything that needs no payload; return the receipt of a delta that was accepted before."""
        receipt = await self._ports.welcome.known(header.ref)
        if receipt is None:
            await self._ports.welcome.check_header(header, known)
        return receipt

    async def _receive(
        self, upload: _Admitted, messages: AsyncIterator[UploadMessage], entry: UploadEntry
    ) -> DeltaRecord:
        """Store the payload and return the delta as it is now to be accepted."""
        with span(self._ports.tracer, "store payload", bytes=upload.delta.payload.total_bytes):
            await self._store(upload, messages, entry)
        return dataclasses.replace(upload.delta, accepted_at=self._ports.clock.now())

    async def _store(self, upload: _Admitted, messages: AsyncIterator[UploadMessage], entry: UploadEntry) -> None:
        delta, clock = upload.delta, self._ports.clock
        writer = PayloadWriter(
            self._ports.store.blobs,
            delta.payload,
            prefix=upload.prefix,
            store_timeout_seconds=self._config.store_timeout_seconds,
        )
        self._ports.unfinished.begun(delta.federation, delta.payload.blob_id, delta.agent_id)
        await writer.open(delta.federation, at=clock.now())
        with self._turns.turn() as turn:
            while (chunk := await self._next_chunk(messages, turn)) is not None:
                async with turn.storing():
                    await writer.write(chunk)
                entry.stored(len(chunk.data))
                self._ports.store_room.stored(len(chunk.data))
                del chunk  # its megabyte must not wait with this upload for the next one
        try:
            await writer.finish()
        except PayloadDigestMismatch:
            await self._drop(delta)
            raise

    async def _accept(self, delta: DeltaRecord, entry: UploadEntry) -> Receipt:
        try:
            with span(self._ports.tracer, "enqueue delta"):
                delta = dataclasses.replace(delta, trace_context=current_traceparent())
                async with self._store_answers():
                    receipt = await self._ports.store.deltas.accept(delta)
            self._ports.unfinished.ended(delta.federation, delta.payload.blob_id)
        except Rejected:  # the head or the agent changed while the payload arrived: nobody will ever want it
            await self._drop(delta)
            raise
        head = await self._ports.heads.head(delta.federation)
        staleness = max(head.id.number - delta.base.number, 0)
        entry.accepted(delta, first=receipt.accepted_at == delta.accepted_at, staleness_versions=staleness)
        return receipt

    async def _drop(self, delta: DeltaRecord) -> None:
        with suppress(Unavailable):  # what stays is unclaimed and swept later
            async with self._store_answers():
                await self._ports.store.blobs.delete(delta.federation, delta.payload.blob_id)
            self._ports.unfinished.ended(delta.federation, delta.payload.blob_id)

    def _store_answers(self) -> AbstractAsyncContextManager[None]:
        seconds = self._config.store_timeout_seconds
        return within(seconds, lambda: store_silent(seconds))

    async def _next_chunk(self, messages: AsyncIterator[UploadMessage], turn: Turn) -> ChunkData | None:
        seconds = self._config.progress_timeout_seconds
        async with turn.reading(), self._gate.awaiting_message(seconds, lambda: _stalled(seconds)):
            message = await anext(messages, None)
        if isinstance(message, DeltaHeader):
            raise HeaderRepeated("the upload sent a second header: open one stream per delta")
        return message

    def _patience(self, deadline_seconds: float | None) -> float:
        if deadline_seconds is None:
            return self._config.upload_wait_seconds
        return max(deadline_seconds - _DEADLINE_MARGIN_SECONDS, 0.0)


def _blob_of(ref: DeltaRef, known: KnownFederation, *, rank: int) -> BlobRef:
    return BlobRef(
        blob_id=ref.blob_id(),
        total_bytes=known.delta_form(rank).layout.total_bytes,
        part_bytes=known.plan.limits.chunk_bytes,
        sha256=ref.sha256,
    )


def _stalled(seconds: float) -> UploadStalled:
    return UploadStalled(
        f"nothing arrived for {seconds:g} s, or for less while others wait: what did arrive is kept; "
        "ask QueryUpload for the offset and resume"
    )
