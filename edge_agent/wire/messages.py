"""Protobuf messages of the agent service to and from the agent's values; the client's other half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from alignfed import failpoints
from alignfed.chunk_frames import frame, read_frame
from alignfed.chunks import ChunkData, crc32c_of
from alignfed.errors import RequestInvalid
from alignfed.plan_proto import ENCODING_TO_PROTO, tensors_to_proto
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import types_pb2
from alignfed.version_manifest import SignedManifest
from edge_agent.domain import Capabilities, DeltaMeta, DeltaState, GlobalVersion, HeadStatus, Receipt

_STATE_FROM_PROTO = {
    types_pb2.DELTA_STATE_QUEUED: DeltaState.QUEUED,
    types_pb2.DELTA_STATE_MERGED: DeltaState.MERGED,
    types_pb2.DELTA_STATE_REJECTED: DeltaState.REJECTED,
}


def capabilities_to_proto(capabilities: Capabilities) -> types_pb2.AgentCapabilities:
    """Return capabilities as a message."""
    return types_pb2.AgentCapabilities(
        device=capabilities.device,
        memory_bytes=capabilities.memory_bytes,
        software_version=capabilities.software_version,
        tier=capabilities.tier,
        examples=capabilities.examples,
    )


def version_from_proto(message: types_pb2.VersionId) -> GlobalVersion:
    """Return a version's identity."""
    return GlobalVersion(epoch=message.epoch, number=message.number, digest=message.digest)


def version_to_proto(version: GlobalVersion) -> types_pb2.VersionId:
    """Return a version's identity as a message."""
    return types_pb2.VersionId(epoch=version.epoch, number=version.number, digest=version.digest)


def status_from_proto(message: types_pb2.HeadStatus) -> HeadStatus:
    """Return the federation's state."""
    return HeadStatus(
        head=version_from_proto(message.head), oldest_retained=message.oldest_retained_number, paused=message.paused
    )


def signed_manifest_from_proto(message: types_pb2.AdapterHeader) -> SignedManifest | None:
    """Return what was signed of an announced version, nothing verified; None when it is not signed."""
    if not message.HasField("manifest"):
        return None
    return SignedManifest(
        manifest=message.manifest.manifest,
        signature=message.manifest.signature.hex(),
        key_fingerprint=message.manifest.key_fingerprint,
    )


def receipt_from_proto(message: types_pb2.Receipt) -> Receipt:
    """Return a receipt.

    Raises:
        RequestInvalid: Its state is one this agent does not know.
    """
    state = _STATE_FROM_PROTO.get(message.state)
    if state is None:
        raise RequestInvalid(f"the coordinator answers with delta state {message.state}: update this agent")
    merged = version_from_proto(message.merged_version) if message.HasField("merged_version") else None
    return Receipt(
        delta_id=message.delta_id, state=state, merged_version=merged, reason=message.reason, detail=message.detail
    )


def download_part(message: bytes) -> types_pb2.AdapterHeader | ChunkData:
    """Return what a message of a download holds, given its bytes; protobuf reads only what is no frame.

    Raises:
        DecodeError: It is no message.
    """
    chunk = read_frame(message)
    if chunk is not None:
        return chunk
    response = pb.DownloadAdapterResponse.FromString(message)
    if response.HasField("header"):
        return response.header
    return ChunkData(offset=response.chunk.offset, data=response.chunk.data, crc32c=response.chunk.crc32c)


def header_to_proto(meta: DeltaMeta, *, federation: str, agent_id: str) -> types_pb2.DeltaHeader:
    """Return the announcement of a delta: everything that leaves the agent besides the payload."""
    return types_pb2.DeltaHeader(
        federation=federation,
        agent_id=agent_id,
        delta_id=meta.delta_id,
        base_version=version_to_proto(meta.base),
        base_model_digest=meta.base_model_digest,
        examples=meta.examples,
        local_steps=meta.local_steps,
        encoding=ENCODING_TO_PROTO[meta.encoding],
        rank=meta.rank,
        tensors=tensors_to_proto(meta.tensors),
        total_bytes=meta.total_bytes,
        sha256=meta.sha256,
    )


def upload_parts(
    header: types_pb2.DeltaHeader,
    payload: Path,
    *,
    offset: int,
    chunk_bytes: int,
    on_bytes: Callable[[int], None] | None,
) -> Iterator[bytes]:
    """Yield an upload's messages: the header, then the payload's chunks from `offset` on, each read when it is due."""
    with failpoints.around("rpc.submit_delta.header"):
        yield pb.SubmitDeltaRequest(header=header).SerializeToString()
    with payload.open("rb") as stream:
        stream.seek(offset)
        while data := stream.read(chunk_bytes):
            chunk = ChunkData(offset=offset, data=data, crc32c=crc32c_of(data))
            with failpoints.around("rpc.submit_delta.chunk"):
                yield frame(chunk)
            if on_bytes is not None:
                on_bytes(len(data))
            offset += len(data)
