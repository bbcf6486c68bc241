"""The operators' RPCs: thin handlers that turn messages into calls and results into messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from alignfed.errors import RequestInvalid
from alignfed.plan_proto import plan_to_proto
from alignfed.v1 import operator_service_pb2 as pb
from alignfed.v1 import operator_service_pb2_grpc as rpc
from alignfed.v1 import types_pb2
from coordinator.backends import refusals
from coordinator.domain import Contribution
from coordinator.service.admission import MAX_INTEGER
from coordinator.service.assembly import Assembly
from coordinator.service.explanations import explain
from coordinator.service.identity import operators as identities
from coordinator.service.inspection import inspect
from coordinator.service.rpc import convert
from coordinator.service.rpc.convert_findings import explanation_to_proto, inspection_to_proto
from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import EOF, Context
from coordinator.service.transfers.creation import AdapterChunk, CalibrationChunk, CreationHeader, CreationMessage
from coordinator.service.transfers.downloads import DownloadRequest

_DEFAULT_VERSIONS = 50
_MOST_VERSIONS = 500


class OperatorServicer(rpc.OperatorServiceServicer):
    """Implements `alignfed.v1.OperatorService`."""

    def __init__(self, assembly: Assembly) -> None:
        self._a = assembly
        self._store = assembly.store
        self._seconds = assembly.config.unary_timeout_seconds

    async def CreateFederation(
        self, request_iterator: AsyncIterator[pb.CreateFederationRequest], context: Context
    ) -> pb.CreateFederationResponse:
        """Receive a federation and publish its version 0."""
        async with translated(context), aclosing(_creation_messages(context)) as messages:
            self._a.drain.check()
            plan, head = await self._a.creation.create(messages)
            self._a.plans.put(plan)
            return pb.CreateFederationResponse(status=convert.head_to_proto(head))

    async def ListFederations(self, request: pb.ListFederationsRequest, context: Context) -> pb.ListFederationsResponse:
        """List names."""
        async with translated(context, seconds=self._seconds):
            return pb.ListFederationsResponse(federations=await self._store.federations.names())

    async def GetFederation(self, request: pb.GetFederationRequest, context: Context) -> pb.GetFederationResponse:
        """Show one federation."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            record = await self._store.federations.get(request.federation)
            depth = await self._store.deltas.depth(request.federation)
            agents = await self._store.agents.list(request.federation)
            return pb.GetFederationResponse(
                plan=plan_to_proto(record.plan),
                status=await self._status(request.federation),
                queue_deltas=depth.queued,
                pending_deltas=depth.pending,
                dead_letters=depth.dead,
                agents=len(agents),
                created_at=convert.timestamp(record.created_at),
                oldest_queued_at=convert.moment(depth.oldest_accepted_at),
            )

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """List versions, newest first."""
        async with translated(context, seconds=self._seconds):
            if request.limit > _MOST_VERSIONS:
                raise RequestInvalid(f"limit must be at most {_MOST_VERSIONS}: page with before_number")
            status = await self._status(request.federation)
            before = request.before_number if request.HasField("before_number") else None
            if before is not None and before > status.head.number:
                before = None
            records = await self._store.versions.list(
                request.federation, before=before, limit=request.limit or _DEFAULT_VERSIONS
            )
            versions = [convert.version_to_proto(record, with_merge=False) for record in records]
            return pb.ListVersionsResponse(versions=versions, status=status)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        """Show one version with its merge record."""
        async with translated(context, seconds=self._seconds):
            status = await self._status(request.federation)
            number = request.number if request.HasField("number") else status.head.number
            record = await self._store.versions.get(request.federation, _storable(number))
            return pb.GetVersionResponse(version=convert.version_to_proto(record, with_merge=True), status=status)

    async def ExportAdapter(self, request: pb.ExportAdapterRequest, context: Context) -> None:
        """Send an adapter from an offset on; the head's unless a version is named."""
        async with translated(context):
            await self._a.plans.get(request.federation)
            if not request.HasField("number"):
                await self._a.heads.refresh(request.federation)
            wanted = DownloadRequest(
                federation=request.federation,
                number=request.number if request.HasField("number") else None,
                kind=convert.adapter_kind_from_proto(request.kind),
                offset=request.offset,
            )
            await self._a.downloads.send(wanted, context, pb.ExportAdapterResponse)

    async def PauseFederation(self, request: pb.PauseFederationRequest, context: Context) -> pb.PauseFederationResponse:
        """Stop merging."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.federations.set_paused(request.federation, True)
            return pb.PauseFederationResponse(status=await self._status(request.federation))

    async def ResumeFederation(
        self, request: pb.ResumeFederationRequest, context: Context
    ) -> pb.ResumeFederationResponse:
        """Start merging again."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.federations.set_paused(request.federation, False)
            return pb.ResumeFederationResponse(status=await self._status(request.federation))

    async def RollBackFederation(
        self, request: pb.RollBackFederationRequest, context: Context
    ) -> pb.RollBackFederationResponse:
        """Publish an older version's adapter again."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.versions.roll_back(
                request.federation,
                _storable(request.number),
                at=self._a.clock.now(),
                sign=partial(self._a.signer.sign, request.federation) if self._a.signer.fingerprint else None,
            )
            return pb.RollBackFederationResponse(status=await self._status(request.federation))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        """List agents with what they have contributed."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            agents = await self._store.agents.list(request.federation)
            contributions = await self._store.agents.contributions(request.federation)
            return pb.ListAgentsResponse(
                agents=[
                    convert.agent_to_proto(agent, contributions.get(agent.agent_id, Contribution())) for agent in agents
                ],
                status=await self._status(request.federation),
            )

    async def RevokeAgent(self, request: pb.RevokeAgentRequest, context: Context) -> pb.RevokeAgentResponse:
        """Refuse everything from an agent from now on."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.agents.revoke(request.federation, request.agent_id)
            self._a.roster.forget(request.federation, request.agent_id)
            return pb.RevokeAgentResponse()

    async def CreateJoinGrant(self, request: pb.CreateJoinGrantRequest, context: Context) -> pb.CreateJoinGrantResponse:
        """Let agents join with a token."""
        async with translated(context, seconds=self._seconds):
            return await identities.create_join_grant(self._a.joining, request)

    async def ListJoinGrants(self, request: pb.ListJoinGrantsRequest, context: Context) -> pb.ListJoinGrantsResponse:
        """List join grants, oldest first."""
        async with translated(context, seconds=self._seconds):
            return await identities.list_join_grants(self._store)

    async def WithdrawJoinGrant(
        self, request: pb.WithdrawJoinGrantRequest, context: Context
    ) -> pb.WithdrawJoinGrantResponse:
        """End a join grant."""
        async with translated(context, seconds=self._seconds):
            await self._store.identities.withdraw(request.token_id)
            return pb.WithdrawJoinGrantResponse()

    async def RevokeIdentity(self, request: pb.RevokeIdentityRequest, context: Context) -> pb.RevokeIdentityResponse:
        """Shut an agent or an operator out of everything."""
        async with translated(context, seconds=self._seconds):
            return await identities.revoke_identity(self._store, request)

    async def ExplainDelta(self, request: pb.ExplainDeltaRequest, context: Context) -> pb.ExplainDeltaResponse:
        """Tell what became of a delta, and why."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            return explanation_to_proto(await explain(self._store, request.federation, request.delta_id))

    async def InspectCoordinator(
        self, request: pb.InspectCoordinatorRequest, context: Context
    ) -> pb.InspectCoordinatorResponse:
        """Tell how this coordinator is."""
        async with translated(context, seconds=self._seconds):
            return inspection_to_proto(await inspect(self._store, self._a.clock))

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """List dead letters, oldest first."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            letters = await self._store.deltas.dead_letters(request.federation)
            return pb.ListDeadLettersResponse(dead_letters=[convert.dead_letter_to_proto(it) for it in letters])

    async def RequeueDeadLetter(
        self, request: pb.RequeueDeadLetterRequest, context: Context
    ) -> pb.RequeueDeadLetterResponse:
        """Put a dead letter back into the queue."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.deltas.requeue_dead(request.federation, request.delta_id)
            return pb.RequeueDeadLetterResponse()

    async def DropDeadLetter(self, request: pb.DropDeadLetterRequest, context: Context) -> pb.DropDeadLetterResponse:
        """Reject a dead letter for good."""
        async with translated(context, seconds=self._seconds):
            await self._a.plans.get(request.federation)
            await self._store.deltas.drop_dead(request.federation, request.delta_id)
            return pb.DropDeadLetterResponse()

    async def _status(self, federation: str) -> types_pb2.HeadStatus:
        """Return the federation's state as the store has it now, and tell whoever waits for it."""
        await self._a.plans.get(federation)
        return convert.head_to_proto(await self._a.heads.refresh(federation))


def _storable(number: int) -> int:
    """Return a version number that a store can look up; larger ones cannot exist."""
    if number > MAX_INTEGER:
        raise refusals.version_unknown(number)
    return number


async def _creation_messages(context: Context) -> AsyncGenerator[CreationMessage, None]:
    while (message := await context.read()) is not EOF:
        match message.WhichOneof("part"):
            case "header":
                yield _header(message.header)
            case "adapter_chunk":
                yield AdapterChunk(chunk=convert.chunk_from_proto(message.adapter_chunk))
            case "calibration_chunk":
                yield CalibrationChunk(chunk=convert.chunk_from_proto(message.calibration_chunk))
            case _:
                raise RequestInvalid("a message holds neither header nor chunk: send one of them in each")
    await asyncio.sleep(0)  # see the agents' uploads: a vanished client is cancelled within one turn of the loop


def _header(message: pb.CreateFederationHeader) -> CreationHeader:
    return CreationHeader(
        plan=convert.checked_plan_from_proto(message.plan),
        adapter_bytes=message.adapter_bytes,
        adapter_sha256=message.adapter_sha256,
        calibration_bytes=message.calibration_bytes,
        calibration_sha256=message.calibration_sha256,
    )
