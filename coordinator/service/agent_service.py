"""The agents' RPCs: thin handlers that turn messages into calls and results into messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, aclosing
from functools import partial

from alignfed.chunks import ChunkData
from alignfed.errors import RequestInvalid
from alignfed.plan_proto import plan_to_proto
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import agent_service_pb2_grpc as rpc
from coordinator.backends import refusals
from coordinator.domain import Head, Receipt
from coordinator.service.admission import DeltaHeader, DeltaRef
from coordinator.service.assembly import Assembly
from coordinator.service.identity.gate import current_caller
from coordinator.service.poll_time import PollTime
from coordinator.service.rpc import convert
from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import EOF, Context
from coordinator.service.transfers.downloads import DownloadRequest
from coordinator.service.transfers.uploads import UploadMessage

_ROLL_CALL_SECONDS = 60.0  # a watching agent counts as seen, and is checked for revocation, this often
_DEADLINE_MARGIN_SECONDS = 0.25  # a long poll answers this long before the client's deadline would end it


class AgentServicer(rpc.AgentServiceServicer):
    """Implements `alignfed.v1.AgentService`."""

    def __init__(self, assembly: Assembly) -> None:
        self._a = assembly
        self._seconds = assembly.config.unary_timeout_seconds

    async def RegisterAgent(self, request: pb.RegisterAgentRequest, context: Context) -> pb.RegisterAgentResponse:
        """Join a federation."""
        async with translated(context, seconds=self._seconds):
            self._a.gate.check_claim(request.federation, request.agent_id)
            known = await self._a.plans.get(request.federation)
            agent = convert.agent_from_proto(request.agent_id, request.capabilities, at=self._a.clock.now())
            record = await self._a.store.agents.register(request.federation, agent)
            self._a.roster.put(request.federation, record)
            if record.revoked:
                raise refusals.agent_revoked(record.agent_id)
            head = await self._a.heads.head(request.federation)
            return pb.RegisterAgentResponse(plan=plan_to_proto(known.plan), status=convert.head_to_proto(head))

    async def GetGlobalVersion(
        self, request: pb.GetGlobalVersionRequest, context: Context
    ) -> pb.GetGlobalVersionResponse:
        """Answer what the head is, at once or when it is newer."""
        arrived_at = self._a.clock.monotonic()
        wait_seconds = convert.wait_seconds(request.max_wait, longest=self._a.config.max_poll_wait_seconds)
        async with translated(context, seconds=self._seconds + wait_seconds):
            with self._a.gate.call(request.federation, request.agent_id):
                await self._admit(request.federation, request.agent_id)
                remaining_seconds: float | None = context.time_remaining()
                if remaining_seconds is not None:
                    wait_seconds = min(wait_seconds, remaining_seconds - _DEADLINE_MARGIN_SECONDS)
                return await self._answer_poll(request, arrived_at=arrived_at, wait_seconds=wait_seconds)

    async def _answer_poll(
        self, request: pb.GetGlobalVersionRequest, *, arrived_at: float, wait_seconds: float
    ) -> pb.GetGlobalVersionResponse:
        clock = self._a.clock
        after = request.after_number if request.HasField("after_number") else None
        known = await self._a.heads.head(request.federation)
        if after is not None:
            lag = self._a.metrics.agent_version_lag_versions.labels(request.federation)
            lag.observe(max(known.id.number - after, 0))
        waits_from = clock.monotonic()
        head = await self._a.heads.wait_newer(request.federation, after=after, max_wait_seconds=wait_seconds)
        news = after is None or head.id.number > after
        took = PollTime(
            arrived_at=arrived_at,
            waits_from=waits_from,
            longest_wait_seconds=wait_seconds,
            newer_at=self._a.heads.since(request.federation) if news else None,
            answered_at=clock.monotonic(),
        )
        self._a.metrics.poll_overhead_seconds.labels(request.federation).observe(took.overhead_seconds)
        pace = await self._pace(request.federation, head)
        return pb.GetGlobalVersionResponse(status=convert.head_to_proto(head), pace=pace)

    async def WatchGlobalVersions(self, request: pb.WatchGlobalVersionsRequest, context: Context) -> None:
        """Send the head, and every later one unless a newer one came while the last was being sent."""
        async with translated(context):
            self._a.drain.check()
            with self._a.gate.call(request.federation, request.agent_id):
                await self._admit(request.federation, request.agent_id)
                head = await self._a.heads.head(request.federation)
                while True:
                    pace = await self._pace(request.federation, head)
                    await context.write(pb.WatchGlobalVersionsResponse(status=convert.head_to_proto(head), pace=pace))
                    head = await self._next_head(request, head)

    async def DownloadAdapter(self, request: pb.DownloadAdapterRequest, context: Context) -> None:
        """Send an adapter from an offset on."""
        async with translated(context):
            with self._a.gate.call(request.federation, None):
                await self._a.plans.get(request.federation)
                wanted = DownloadRequest(
                    federation=request.federation,
                    number=request.number,
                    kind=convert.adapter_kind_from_proto(request.kind),
                    offset=request.offset,
                )
                await self._a.downloads.send(
                    wanted, context, pb.DownloadAdapterResponse, charge=partial(self._count, "bytes")
                )

    async def QueryUpload(self, request: pb.QueryUploadRequest, context: Context) -> pb.QueryUploadResponse:
        """Say what is held of a delta."""
        ref = DeltaRef(
            federation=request.federation,
            agent_id=request.agent_id,
            delta_id=request.delta_id,
            sha256=request.sha256,
        )
        async with translated(context, seconds=self._seconds):
            self._a.gate.check_claim(ref.federation, ref.agent_id)
            base = convert.version_id_from_proto(request.base_version) if request.HasField("base_version") else None
            progress = await self._a.uploads.query(ref, rank=request.rank, base=base)
            self._a.liveness.note(ref.federation, ref.agent_id)
            status = convert.head_to_proto(await self._a.heads.head(ref.federation))
            if isinstance(progress, Receipt):
                return pb.QueryUploadResponse(receipt=convert.receipt_to_proto(progress), status=status)
            return pb.QueryUploadResponse(resume_offset=progress, status=status)

    async def SubmitDelta(
        self, request_iterator: AsyncIterator[pb.SubmitDeltaRequest | ChunkData], context: Context
    ) -> pb.SubmitDeltaResponse:
        """Receive a delta and acknowledge it once it is durable."""
        async with translated(context):
            with ExitStack() as held:
                async with aclosing(_upload_messages(context, self._greeter(held))) as messages:
                    upload = await self._a.uploads.submit(messages, deadline_seconds=context.time_remaining())
            self._a.liveness.note(upload.federation, upload.receipt.agent_id)
            head = await self._a.heads.head(upload.federation)
            return pb.SubmitDeltaResponse(
                receipt=convert.receipt_to_proto(upload.receipt),
                status=convert.head_to_proto(head),
                pace=await self._pace(upload.federation, head),
            )

    async def RenewCertificate(
        self, request: pb.RenewCertificateRequest, context: Context
    ) -> pb.RenewCertificateResponse:
        """Sign a new certificate for the caller."""
        async with translated(context, seconds=self._seconds):
            return pb.RenewCertificateResponse(
                certificate=self._a.joining.renew(current_caller(), request.signing_request)
            )

    def _greeter(self, held: ExitStack) -> Callable[[DeltaHeader], None]:
        """Return what checks an upload's header when it comes; the upload is cut if its agent is shut out."""

        def greet(header: DeltaHeader) -> None:
            held.enter_context(self._a.gate.call(header.federation, header.agent_id))
            self._count("deltas", 1)
            self._count("bytes", header.total_bytes)

        return greet

    def _count(self, what: str, amount: int) -> None:
        """Count against what the caller may have, where callers are known.

        Raises:
            RateExceeded: It has no room for it now.
        """
        caller = current_caller()
        if caller is not None:
            self._a.rates.take(caller.identity.principal, what, amount)

    async def _pace(self, federation: str, head: Head) -> pb.Pace:
        """Return what to ask of an agent, its wait spread so that a fleet does not come back in step."""
        advice = await self._a.quotas.advice(await self._a.plans.get(federation), head)
        pace = pb.Pace(oldest_wanted_number=advice.oldest_wanted)
        if advice.come_back_seconds > 0:
            pace.come_back_after.CopyFrom(convert.spread_duration(advice.come_back_seconds))
            self._a.metrics.paced_answers.labels(federation).inc()
        return pace

    async def _admit(self, federation: str, agent_id: str) -> None:
        """Let a registered agent in, and note that it called."""
        await self._a.plans.get(federation)
        await self._a.roster.admit(federation, agent_id)
        self._a.liveness.note(federation, agent_id)

    async def _next_head(self, request: pb.WatchGlobalVersionsRequest, last: Head) -> Head:
        while True:
            try:
                async with asyncio.timeout(_ROLL_CALL_SECONDS):
                    return await self._a.heads.next_change(request.federation, last)
            except TimeoutError:
                await self._admit(request.federation, request.agent_id)


async def _upload_messages(
    context: Context, greet: Callable[[DeltaHeader], None]
) -> AsyncGenerator[UploadMessage, None]:
    while (message := await context.read()) is not EOF:
        if isinstance(message, ChunkData):  # as nearly all are, see `rpc.parsing`
            handed = [message]
            del message  # nor is a chunk kept here while the next one arrives
            yield handed.pop()
            continue
        match message.WhichOneof("part"):
            case "header":
                header = convert.header_from_proto(message.header)
                greet(header)
                yield header
            case "chunk":
                yield convert.chunk_from_proto(message.chunk)
            case _:
                raise RequestInvalid("an upload's message holds neither header nor chunk: send one of them in each")
    # A client that vanished reads as the end of its stream; the cancellation follows within one turn of the loop.
    await asyncio.sleep(0)
