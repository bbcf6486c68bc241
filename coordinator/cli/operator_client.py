"""A synchronous client of the operator service: domain values in and out, AlignFed's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from alignfed.addresses import is_loopback
from alignfed.chunks import ChunkData, ChunkReceiver, cut, sha256_of
from alignfed.errors import HeaderMissing
from alignfed.plan import FederationPlan
from alignfed.plan_proto import plan_to_proto
from alignfed.settings import parse_listen
from alignfed.v1 import operator_service_pb2 as pb
from alignfed.v1 import operator_service_pb2_grpc, types_pb2
from coordinator.cli.operator_errors import errors_translated
from coordinator.cli.operator_findings import delta_of, inspection_of
from coordinator.cli.operator_grants import join_grant_of, join_grant_to_proto
from coordinator.cli.operator_messages import (
    ADAPTER_KIND_TO_PROTO,
    agent_of,
    dead_letter_of,
    federation_of,
    head_of,
    version_id_of,
    version_of,
)
from coordinator.cli.operator_views import (
    AgentView,
    DeadLetterView,
    DeltaView,
    FederationView,
    InspectionView,
    VersionView,
)
from coordinator.cli.tls import ClientTls
from coordinator.domain import AdapterKind, Head, JoinGrant, JoinGrantState, VersionId

CALL_SECONDS = 30.0
"""Deadline of a call that moves a few kilobytes; the service answers in milliseconds unless its store hangs."""
TRANSFER_SECONDS = 900.0
"""Deadline of a call that moves an adapter: 84 MB (an 8-billion-parameter model) over 1 Mbit/s."""
MAX_MESSAGE_BYTES = 64 << 20
"""A list of 10,000 agents is about 2 MB; a merge record of a 10,000-delta buffer about 3 MB."""


class OperatorClient:
    """Owns one channel to a coordinator's operator address. Use it as a context manager.

    Every method raises `CoordinatorUnreachable` when nobody answers, and the error that the service names otherwise.

    Args:
        address: `host:port`.
        tls: For an encrypted connection; None for a plain one.
        call_seconds: Deadline of calls that move no adapter.

    Raises:
        RequestInvalid: The address is malformed, or a TLS file cannot be read.
    """

    def __init__(self, address: str, *, tls: ClientTls | None = None, call_seconds: float = CALL_SECONDS) -> None:
        self.address = address
        self.authority = None if tls is None else tls.authority()
        self._call_seconds = call_seconds
        options = _channel_options(address)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, tls.credentials(), options)
        self._stub = operator_service_pb2_grpc.OperatorServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the channel. Idempotent."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_federation(self, plan: FederationPlan, adapter: bytes, calibration: bytes) -> Head:
        """Create a federation.

        Args:
            plan: Resolved plan: base model digest and manifest filled in.
            adapter: The initial adapter, safetensors in fp32.
            calibration: JSON Lines; empty for none.

        Raises:
            FederationExists: The name is taken.
            PlanInvalid, ManifestMismatch: The coordinator refuses the plan or the adapter.
        """
        with errors_translated(self.address):
            response = self._stub.CreateFederation(
                _creation_parts(plan, adapter, calibration), timeout=TRANSFER_SECONDS
            )
        return head_of(response.status)

    def federations(self) -> list[str]:
        """Return the names of all federations, sorted."""
        return list(self._call("ListFederations", pb.ListFederationsRequest()).federations)

    def federation(self, federation: str) -> FederationView:
        """Return one federation: plan, head, queue, totals."""
        return federation_of(self._call("GetFederation", pb.GetFederationRequest(federation=federation)))

    def versions(self, federation: str, *, before: int | None = None, limit: int = 50) -> list[VersionView]:
        """Return up to `limit` (at most 500) versions below `before`, newest first, without merge records."""
        request = pb.ListVersionsRequest(federation=federation, before_number=before, limit=limit)
        return [version_of(message) for message in self._call("ListVersions", request).versions]

    def version(self, federation: str, number: int | None = None) -> VersionView:
        """Return one version (None: the head) with its merge record.

        Raises:
            VersionNotFound: It does not exist.
        """
        return version_of(self._call("GetVersion", pb.GetVersionRequest(federation=federation, number=number)).version)

    def adapter(
        self, federation: str, number: int | None = None, *, kind: AdapterKind = AdapterKind.SERVED
    ) -> tuple[VersionId, bytes]:
        """Download an adapter, checked against its digest.

        Returns:
            The version's identity and the payload, safetensors in fp32.

        Raises:
            VersionNotFound: The version does not exist or its adapter is no longer retained.
            PayloadTruncated, PayloadDigestMismatch, ChunkChecksumMismatch: It was damaged on the way.
        """
        chunk_bytes = self.federation(federation).plan.limits.chunk_bytes
        request = pb.ExportAdapterRequest(federation=federation, number=number, kind=ADAPTER_KIND_TO_PROTO[kind])
        with errors_translated(self.address):
            return _receive_adapter(self._stub.ExportAdapter(request, timeout=TRANSFER_SECONDS), chunk_bytes)

    def pause(self, federation: str) -> Head:
        """Stop merging. Idempotent."""
        return head_of(self._call("PauseFederation", pb.PauseFederationRequest(federation=federation)).status)

    def resume(self, federation: str) -> Head:
        """Start merging again. Idempotent."""
        return head_of(self._call("ResumeFederation", pb.ResumeFederationRequest(federation=federation)).status)

    def roll_back(self, federation: str, number: int) -> Head:
        """Publish a new version with the adapter of version `number`.

        Raises:
            VersionNotFound: It does not exist, is abandoned, or is no longer retained.
        """
        request = pb.RollBackFederationRequest(federation=federation, number=number)
        return head_of(self._call("RollBackFederation", request).status)

    def agents(self, federation: str) -> list[AgentView]:
        """Return every agent with its contribution, sorted by id."""
        response = self._call("ListAgents", pb.ListAgentsRequest(federation=federation))
        return [agent_of(message) for message in response.agents]

    def revoke_agent(self, federation: str, agent_id: str) -> None:
        """Refuse everything from an agent from now on. Idempotent.

        Raises:
            UnknownAgent: It never registered.
        """
        self._call("RevokeAgent", pb.RevokeAgentRequest(federation=federation, agent_id=agent_id))

    def create_join_grant(self, grant: JoinGrant) -> None:
        """Let agents join with a token, whose secret the coordinator learns only its digest of.

        Raises:
            RequestInvalid: A field is out of its range.
        """
        self._call("CreateJoinGrant", pb.CreateJoinGrantRequest(grant=join_grant_to_proto(grant)))

    def join_grants(self) -> list[JoinGrantState]:
        """Return the join grants that have not expired, oldest first, without their secrets' digests."""
        response = self._call("ListJoinGrants", pb.ListJoinGrantsRequest())
        return [join_grant_of(message) for message in response.grants]

    def withdraw_join_grant(self, token_id: str) -> None:
        """End a join grant; agents that joined with it stay. Idempotent."""
        self._call("WithdrawJoinGrant", pb.WithdrawJoinGrantRequest(token_id=token_id))

    def revoke_identity(self, principal: str) -> list[str]:
        """Shut out `agent:ID` or `operator:NAME`, for good, and return the federations that the agent was in.

        Raises:
            RequestInvalid: It is malformed, or the caller's own.
        """
        return list(self._call("RevokeIdentity", pb.RevokeIdentityRequest(principal=principal)).federations)

    def delta(self, federation: str, delta_id: str) -> DeltaView:
        """Return what became of a delta; a beginning of its id will do when no other delta shares it.

        Raises:
            DeltaNotFound: It was never accepted, and is not being uploaded.
        """
        request = pb.ExplainDeltaRequest(federation=federation, delta_id=delta_id)
        return delta_of(self._call("ExplainDelta", request))

    def inspect(self) -> InspectionView:
        """Return how the coordinator, its store and the leadership of its federations are."""
        return inspection_of(self._call("InspectCoordinator", pb.InspectCoordinatorRequest()))

    def dead_letters(self, federation: str) -> list[DeadLetterView]:
        """Return the dead letters, oldest first."""
        response = self._call("ListDeadLetters", pb.ListDeadLettersRequest(federation=federation))
        return [dead_letter_of(message) for message in response.dead_letters]

    def requeue_dead_letter(self, federation: str, delta_id: str) -> None:
        """Put a dead letter back into the queue.

        Raises:
            DeadLetterNotFound: There is none of that id.
        """
        self._call("RequeueDeadLetter", pb.RequeueDeadLetterRequest(federation=federation, delta_id=delta_id))

    def drop_dead_letter(self, federation: str, delta_id: str) -> None:
        """Reject a dead letter for good.

        Raises:
            DeadLetterNotFound: There is none of that id.
        """
        self._call("DropDeadLetter", pb.DropDeadLetterRequest(federation=federation, delta_id=delta_id))

    def _call(self, method: str, request: Message) -> Any:
        with errors_translated(self.address):
            return getattr(self._stub, method)(request, timeout=self._call_seconds)


def _channel_options(address: str) -> list[tuple[str, int]]:
    host, _port = parse_listen(address)
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    if is_loopback(host):
        options.append(("grpc.enable_http_proxy", 0))  # a proxy cannot reach this machine's own loopback
    return options


def _creation_parts(plan: FederationPlan, adapter: bytes, calibration: bytes) -> Iterator[pb.CreateFederationRequest]:
    yield pb.CreateFederationRequest(
        header=pb.CreateFederationHeader(
            plan=plan_to_proto(plan),
            adapter_bytes=len(adapter),
            adapter_sha256=sha256_of(adapter),
            calibration_bytes=len(calibration),
            calibration_sha256=sha256_of(calibration),
        )
    )
    for chunk in cut(adapter, chunk_bytes=plan.limits.chunk_bytes):
        yield pb.CreateFederationRequest(adapter_chunk=_chunk(chunk))
    for chunk in cut(calibration, chunk_bytes=plan.limits.chunk_bytes):
        yield pb.CreateFederationRequest(calibration_chunk=_chunk(chunk))


def _chunk(chunk: ChunkData) -> types_pb2.Chunk:
    return types_pb2.Chunk(offset=chunk.offset, data=chunk.data, crc32c=chunk.crc32c)


def _receive_adapter(parts: Iterator[pb.ExportAdapterResponse], chunk_bytes: int) -> tuple[VersionId, bytes]:
    first = next(parts, None)
    if first is None or not first.HasField("header"):
        raise HeaderMissing("the coordinator sent an adapter without its header: update coordinator or this command")
    header = first.header
    receiver = ChunkReceiver(total_bytes=header.total_bytes, sha256=header.sha256, chunk_bytes=chunk_bytes)
    payload = bytearray()
    for part in parts:
        chunk = ChunkData(offset=part.chunk.offset, data=part.chunk.data, crc32c=part.chunk.crc32c)
        receiver.receive(chunk)
        payload += chunk.data
    receiver.finish()
    return version_id_of(header.version), bytes(payload)
