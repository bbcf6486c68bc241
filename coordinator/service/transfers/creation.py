"""Creation of a federation: a plan, its initial adapter and its calibration set, made visible in one step."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

from alignfed.chunks import ChunkData
from alignfed.errors import (
    AlignFedError,
    CalibrationMissing,
    HeaderInvalid,
    HeaderMissing,
    HeaderRepeated,
    PayloadOversized,
    PayloadTruncated,
    PlanInvalid,
    UnknownFederation,
    UploadStalled,
)
from alignfed.layout import Layout, layout_of
from alignfed.plan import SHA256_HEX, Encoding, FederationPlan
from coordinator.backends import refusals
from coordinator.domain import BlobRef, FederationRecord, Head, VersionId, VersionKind, VersionRecord
from coordinator.ports import Clock, Store
from coordinator.service.bounds import within
from coordinator.service.config import ServiceConfig
from coordinator.service.transfers.payloads import PayloadWriter
from coordinator.signing import Signer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CreationHeader:
    """Announces a federation; `calibration_bytes` 0 means there is no calibration set."""

    plan: FederationPlan
    adapter_bytes: int
    adapter_sha256: str
    calibration_bytes: int
    calibration_sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AdapterChunk:
    """A chunk of the initial adapter."""

    chunk: ChunkData


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationChunk:
    """A chunk of the calibration set."""

    chunk: ChunkData


CreationMessage = CreationHeader | AdapterChunk | CalibrationChunk


class Creation:
    """Creates federations.

    Args:
        store: Where they are kept.
        clock: Time.
        config: Limits.
        signer: Signs version 0.
    """

    def __init__(self, store: Store, clock: Clock, config: ServiceConfig, signer: Signer) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self._config = config

    async def create(self, messages: AsyncIterator[CreationMessage]) -> tuple[FederationPlan, Head]:
        """Receive a federation and publish its version 0. A crash leaves unclaimed blobs for `sweep`.

        Returns:
            The plan and the head.

        Raises:
            FederationExists: The name is taken; the payload was not read.
            PlanInvalid, CalibrationMissing, HeaderInvalid, PayloadOversized, PayloadTruncated: Of the announcement.
            Rejected: A chunk or payload is not what was announced.
        """
        header = await self._header(messages)
        plan = header.plan
        await self._check_name_free(plan.federation)
        check_plan(plan)
        layout = layout_of(plan.tensors, Encoding.FP32)
        check_announcement(header, layout, self._config)
        attempt = uuid.uuid4().hex  # so that two attempts at one name never share, and never delete, each other's blobs
        adapter = _blob(header, f"adapter.{plan.federation}.0.{attempt}", header.adapter_bytes, header.adapter_sha256)
        calibration = None
        if header.calibration_bytes:
            name = f"calibration.{plan.federation}.{attempt}"
            calibration = _blob(header, name, header.calibration_bytes, header.calibration_sha256)
        try:
            await self._receive(plan, adapter, layout.prefix, messages, AdapterChunk)
            if calibration is not None:
                await self._receive(plan, calibration, b"", messages, CalibrationChunk)
            await self._check_ended(messages)
            return plan, await self._publish(plan, adapter, calibration)
        except AlignFedError:
            await self._drop(plan, adapter, calibration)
            raise

    async def _header(self, messages: AsyncIterator[CreationMessage]) -> CreationHeader:
        message = await self._next(messages)
        if not isinstance(message, CreationHeader):
            what = "ended" if message is None else "began with a chunk"
            raise HeaderMissing(f"the stream {what} before its header: send the header with the plan first")
        return message

    async def _check_name_free(self, federation: str) -> None:
        with suppress(UnknownFederation):
            await self._store.federations.get(federation)
            raise refusals.federation_exists(federation)

    async def _receive(
        self,
        plan: FederationPlan,
        blob: BlobRef,
        prefix: bytes,
        messages: AsyncIterator[CreationMessage],
        kind: type[AdapterChunk] | type[CalibrationChunk],
    ) -> None:
        seconds = self._config.store_timeout_seconds
        writer = PayloadWriter(self._store.blobs, blob, prefix=prefix, store_timeout_seconds=seconds)
        await writer.open(plan.federation, at=self._clock.now())
        while writer.held_bytes < blob.total_bytes:
            message = await self._next(messages)
            if message is None:
                break
            if isinstance(message, CreationHeader):
                raise HeaderRepeated("the stream sent a second header: open one stream per federation")
            if not isinstance(message, kind):
                raise PayloadTruncated(
                    f"another payload began after {writer.held_bytes} of {blob.total_bytes} bytes: "
                    "send the whole adapter first, then the calibration set"
                )
            await writer.write(message.chunk)
        await writer.finish()

    async def _check_ended(self, messages: AsyncIterator[CreationMessage]) -> None:
        if await self._next(messages) is not None:
            raise PayloadOversized("more was sent than the header announced: announce the true lengths")

    async def _publish(self, plan: FederationPlan, adapter: BlobRef, calibration: BlobRef | None) -> Head:
        now = self._clock.now()
        initial = VersionRecord(
            id=VersionId(epoch=0, number=0, digest=adapter.sha256),
            kind=VersionKind.INITIAL,
            parent=None,
            adapter=adapter,
            created_at=now,
        )
        await self._store.federations.create(
            FederationRecord(plan=plan, calibration=calibration, created_at=now),
            self._signer.sign(plan.federation, initial, None),
        )
        return await self._store.versions.head(plan.federation)

    async def _drop(self, plan: FederationPlan, *blobs: BlobRef | None) -> None:
        for blob in blobs:
            if blob is not None:
                with suppress(AlignFedError):  # what stays is unclaimed and swept later
                    await self._store.blobs.delete(plan.federation, blob.blob_id)

    async def _next(self, messages: AsyncIterator[CreationMessage]) -> CreationMessage | None:
        seconds = self._config.progress_timeout_seconds
        async with within(seconds, lambda: UploadStalled(f"nothing arrived for {seconds:g} s: create it again")):
            return await anext(messages, None)


def check_plan(plan: FederationPlan) -> None:
    """Check that a plan is resolved against its base model.

    Raises:
        PlanInvalid: The base model's digest or the manifest is missing or malformed.
    """
    if not SHA256_HEX.fullmatch(plan.base_model.digest):
        raise PlanInvalid(
            "base_model.digest must be 64 hex digits: resolve the plan with `alignfed federations create`"
        )
    names = [spec.name for spec in plan.tensors]
    if not names:
        raise PlanInvalid("the plan has no tensors: resolve it with `alignfed federations create`")
    if names != sorted(set(names)) or not all(names):
        raise PlanInvalid("the plan's tensors must be sorted by name, each named once")
    for spec in plan.tensors:
        if not spec.shape or min(spec.shape) < 1:
            raise PlanInvalid(f"tensor {spec.name} has shape {spec.shape}: every dimension must be at least 1")


def check_announcement(header: CreationHeader, layout: Layout, config: ServiceConfig) -> None:
    """Check what is announced about the payloads.

    Raises:
        PayloadOversized, PayloadTruncated: The adapter's length is not the manifest's, or a payload is above its limit.
        HeaderInvalid: A digest is malformed.
        CalibrationMissing: The plan uses calibration rows and there are none.
    """
    due = layout.total_bytes
    if header.adapter_bytes != due:
        error = PayloadOversized if header.adapter_bytes > due else PayloadTruncated
        raise error(f"the header announces {header.adapter_bytes} bytes of adapter, the plan's manifest makes {due}")
    if due > config.max_adapter_bytes:
        raise PayloadOversized(f"the adapter has {due} bytes, this coordinator takes {config.max_adapter_bytes}")
    if header.calibration_bytes > config.max_calibration_bytes:
        raise PayloadOversized(
            f"the calibration set has {header.calibration_bytes} bytes, this coordinator takes "
            f"{config.max_calibration_bytes}: a few hundred rows are enough"
        )
    for name, digest in (("adapter_sha256", header.adapter_sha256), ("calibration_sha256", header.calibration_sha256)):
        needed = name == "adapter_sha256" or header.calibration_bytes > 0
        if needed and not SHA256_HEX.fullmatch(digest):
            raise HeaderInvalid(f"{name} must be 64 lowercase hex digits")
    rows = header.plan.calibration.fit_rows + header.plan.calibration.judge_rows
    if rows and not header.calibration_bytes:
        raise CalibrationMissing(
            f"the plan fits and judges on {rows} calibration rows but no calibration set was sent: "
            "give one, or set calibration.fit_rows and calibration.judge_rows to 0"
        )


def _blob(header: CreationHeader, blob_id: str, total_bytes: int, sha256: str) -> BlobRef:
    part_bytes = header.plan.limits.chunk_bytes
    return BlobRef(blob_id=blob_id, total_bytes=total_bytes, part_bytes=part_bytes, sha256=sha256)
