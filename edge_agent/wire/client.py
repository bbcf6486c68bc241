"""The agent's gRPC client: synchronous, safe for several threads, deadlines on every call. Protobuf stops here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, Self

from alignfed import failpoints
from alignfed.chunks import ChunkData, check_offset
from alignfed.errors import PayloadTruncated
from alignfed.plan_proto import duration_to_proto, plan_from_proto
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import types_pb2
from edge_agent.domain import (
    Capabilities,
    DeltaMeta,
    GlobalVersion,
    HeadStatus,
    Receipt,
    Registration,
    ResumeAt,
    TlsFiles,
)
from edge_agent.wire.calls import CALL_SECONDS, transfer_seconds
from edge_agent.wire.connection import Connection
from edge_agent.wire.download import AdapterDownload
from edge_agent.wire.messages import (
    capabilities_to_proto,
    header_to_proto,
    receipt_from_proto,
    signed_manifest_from_proto,
    status_from_proto,
    upload_parts,
    version_from_proto,
    version_to_proto,
)


class Traffic(Protocol):
    """Is told of payload bytes as they pass; called on threads of gRPC too."""

    def uploaded(self, nbytes: int) -> None:
        """So many bytes of a delta were handed to the network."""
        ...

    def downloaded(self, nbytes: int) -> None:
        """So many bytes of an adapter have arrived."""
        ...


class CoordinatorClient:
    """Speaks to a coordinator on behalf of one agent. Use it as a context manager.

    Every call raises the leaf of `alignfed.errors` that the coordinator names, or `CoordinatorUnreachable` when nobody
    answers in time. Repeating any call is harmless.

    Args:
        address: `host:port`.
        federation: The federation of every call.
        agent_id: The agent of every call.
        tls: For an encrypted connection; None for plain text.
        traffic: Is told of payload bytes; None if nobody counts.
        on_pace: Told, in seconds, how long each answer asks not to begin another delta; called on the caller's thread.
    """

    def __init__(
        self,
        address: str,
        *,
        federation: str,
        agent_id: str,
        tls: TlsFiles | None = None,
        traffic: Traffic | None = None,
        on_pace: Callable[[float], None] | None = None,
    ) -> None:
        self._federation = federation
        self._agent_id = agent_id
        self._traffic = traffic
        self._on_pace = on_pace
        self._connection = Connection(address, tls)

    def cancel(self) -> None:
        """Break off calls in progress and refuse new ones, from any thread: they raise `CoordinatorUnreachable`."""
        self._connection.cancel()

    def close(self) -> None:
        """Cancel calls and close the channel. Idempotent."""
        self._connection.close()

    def reconnect(self) -> None:
        """Show the TLS files as they are now, from the next call on.

        Raises:
            RequestInvalid: A file cannot be read; nothing changes.
        """
        self._connection.reconnect()

    def renew_certificate(self, signing_request: bytes) -> bytes:
        """Return a new certificate (PEM) for the agent's key.

        Raises:
            IdentityMissing, IdentityRevoked, RequestInvalid: The coordinator does not renew it.
        """
        request = pb.RenewCertificateRequest(signing_request=signing_request)
        with failpoints.around("rpc.renew_certificate"):
            certificate: bytes = self._connection.unary("RenewCertificate", request).certificate
        return certificate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def register(self, capabilities: Capabilities) -> Registration:
        """Join the federation, or refresh what the coordinator knows of the agent.

        Raises:
            UnknownFederation, AgentRevoked, RequestInvalid: As named by the coordinator.
            PlanInvalid: The plan it sent is not one this agent understands.
        """
        request = pb.RegisterAgentRequest(
            federation=self._federation,
            agent_id=self._agent_id,
            capabilities=capabilities_to_proto(capabilities),
        )
        with failpoints.around("rpc.register_agent"):
            response = self._connection.unary("RegisterAgent", request)
        return Registration(plan=plan_from_proto(response.plan), status=status_from_proto(response.status))

    def global_version(self, *, after: int | None = None, wait_seconds: float = 0.0) -> HeadStatus:
        """Return the head.

        Args:
            after: Number of the version the agent holds.
            wait_seconds: Wait up to this long (at most 60) for a version newer than `after`.
        """
        request = pb.GetGlobalVersionRequest(federation=self._federation, agent_id=self._agent_id, after_number=after)
        if wait_seconds > 0:
            request.max_wait.CopyFrom(duration_to_proto(wait_seconds))
        with failpoints.around("rpc.get_global_version"):
            response = self._connection.unary("GetGlobalVersion", request, timeout=CALL_SECONDS + wait_seconds)
        self._note_pace(response)
        return status_from_proto(response.status)

    def download(self, download: AdapterDownload) -> None:
        """Fetch what is missing of an adapter; after an error, the same `download` goes on where it stopped.

        Raises:
            VersionNotFound: The version is not retained any more, or its number names another one by now.
            VersionRefused: It is not what its publisher signed, or does not follow what was accepted before.
            ChunkOutOfOrder, ChunkChecksumMismatch, PayloadTruncated, PayloadOversized: The transfer is damaged.
        """
        request = pb.DownloadAdapterRequest(
            federation=self._federation,
            number=download.version.number,
            offset=download.offset,
            kind=types_pb2.ADAPTER_KIND_TRAINING,
        )
        timeout = transfer_seconds(download.remaining_bytes)
        with (
            failpoints.around("rpc.download_adapter"),
            closing(self._connection.stream("DownloadAdapter", request, timeout=timeout)) as responses,
        ):
            for part in responses:
                if isinstance(part, ChunkData):
                    with failpoints.around("rpc.download_adapter.chunk"):
                        download.add(part)
                    if self._traffic is not None:
                        self._traffic.downloaded(len(part.data))
                else:
                    version = version_from_proto(part.version)
                    signed = signed_manifest_from_proto(part)
                    download.begin(version, total_bytes=part.total_bytes, sha256=part.sha256, signed=signed)

    def query_upload(
        self, delta_id: str, sha256: str, *, rank: int = 0, base: GlobalVersion | None = None
    ) -> Receipt | ResumeAt:
        """Return the delta's receipt, or where its upload goes on.

        Args:
            delta_id: The delta.
            sha256: Digest of its payload.
            rank: Its LoRA rank; 0 stands for the plan's.
            base: Its base version, before an upload: raises what the upload would, before a byte is sent.

        Raises:
            BaseVersionTooOld, BaseVersionOtherBranch, BaseVersionUnknown, BaseVersionInFuture: It is not wanted.
            QueueFull, AgentOverQuota: There is no room for it now.
        """
        request = pb.QueryUploadRequest(
            federation=self._federation, agent_id=self._agent_id, delta_id=delta_id, sha256=sha256, rank=rank
        )
        if base is not None:
            request.base_version.CopyFrom(version_to_proto(base))
        with failpoints.around("rpc.query_upload"):
            response = self._connection.unary("QueryUpload", request)
        if response.HasField("receipt"):
            return receipt_from_proto(response.receipt)
        return ResumeAt(offset=response.resume_offset)

    def submit(self, meta: DeltaMeta, payload: Path, resume: ResumeAt, *, chunk_bytes: int) -> Receipt:
        """Upload a delta's payload from `resume.offset` on, chunk by chunk from its file.

        Returns:
            The receipt: the delta is durable at the coordinator, whatever became of it since.

        Raises:
            PayloadTruncated: The file does not have the length that `meta` says.
            HeaderInvalid: The offset is no place to resume at.
        """
        if payload.stat().st_size != meta.total_bytes:
            raise PayloadTruncated(f"{payload} does not have the {meta.total_bytes} bytes it was written with")
        check_offset(resume.offset, total_bytes=meta.total_bytes, chunk_bytes=chunk_bytes)
        parts = upload_parts(
            header_to_proto(meta, federation=self._federation, agent_id=self._agent_id),
            payload,
            offset=resume.offset,
            chunk_bytes=chunk_bytes,
            on_bytes=self._traffic.uploaded if self._traffic is not None else None,
        )
        timeout = transfer_seconds(meta.total_bytes - resume.offset)
        with failpoints.around("rpc.submit_delta"):
            response = self._connection.unary("SubmitDelta", parts, timeout=timeout)
        self._note_pace(response)
        return receipt_from_proto(response.receipt)

    def _note_pace(self, response: Any) -> None:
        """Pass on the advice of an answer; of a coordinator that gives none, that there is none."""
        if self._on_pace is not None:
            after = response.pace.come_back_after
            self._on_pace(after.seconds + after.nanos / 1e9)
