"""What an agent is told: a coordinator, or whoever sits between, answers with anything; what comes of it is typed."""

from __future__ import annotations

import random

import grpc
import torch
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from alignfed.chunks import ChunkData, cut, sha256_of
from alignfed.codec import encode
from alignfed.errors import AlignFedError, StoreUnreachable
from alignfed.plan import BaseModel, Encoding, FederationPlan, Limits, Lora, TensorSpec
from alignfed.v1 import agent_service_pb2 as pb
from edge_agent.domain import GlobalVersion
from edge_agent.wire import messages
from edge_agent.wire.backoff import LONGEST_HINT_SECONDS, wait_seconds
from edge_agent.wire.download import AdapterDownload
from edge_agent.wire.errors import error_of
from tests.fuzz.mutations import frame, mutate_bytes, mutate_message, mutate_one_of, unframe
from tests.fuzz.target import Target

PLAN = FederationPlan(
    federation="fed",
    base_model=BaseModel(name="tiny", digest="ab" * 32),
    lora=Lora(rank=2, target_modules=("q",)),
    limits=Limits(chunk_bytes=1024),
    tensors=(TensorSpec(name="q.lora_A.weight", shape=(2, 90)), TensorSpec(name="q.lora_B.weight", shape=(90, 2))),
).validate()
FACTORS = {spec.name: torch.arange(180, dtype=torch.float32).reshape(spec.shape) for spec in PLAN.tensors}
ADAPTER = bytes(encode(FACTORS, Encoding.FP32))
_CODES = tuple(grpc.StatusCode)


def seeds() -> list[bytes]:
    version = {"epoch": 1, "number": 2, "digest": sha256_of(ADAPTER)}
    header = {"version": version, "total_bytes": len(ADAPTER), "sha256": version["digest"]}
    chunks = ({"offset": it.offset, "data": it.data, "crc32c": it.crc32c} for it in cut(ADAPTER, chunk_bytes=1024))
    responses = [
        pb.DownloadAdapterResponse(header=header),
        *(pb.DownloadAdapterResponse(chunk=chunk) for chunk in chunks),
    ]
    status = {"head": version, "oldest_retained_number": 1}
    receipt = {"delta_id": "d", "state": 2, "merged_version": version}
    return [
        frame([b"\x00", _details(), bytes((14,))]),
        frame([b"\x01", pb.GetGlobalVersionResponse(status=status).SerializeToString()]),
        frame([b"\x02", pb.SubmitDeltaResponse(receipt=receipt).SerializeToString()]),
        frame([b"\x03", *(response.SerializeToString() for response in responses)]),
    ]


def _details() -> bytes:
    info = error_details_pb2.ErrorInfo(reason=StoreUnreachable.reason, domain="alignfed", metadata={"federation": "f"})
    retry = error_details_pb2.RetryInfo(retry_delay={"seconds": 3, "nanos": 5})
    status = status_pb2.Status(code=14, message="later")
    for detail in (info, retry):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status.SerializeToString()


def mutate(data: bytes, rng: random.Random) -> bytes:
    kind, *parts = unframe(data) or [b""]
    chosen = kind[0] % 4 if kind else 0
    if chosen == 0:
        details, code = (*parts, b"", b"")[:2]
        return frame([kind, _spoilt_details(details, rng), code if rng.random() < 0.8 else rng.randbytes(1)])
    message = (None, pb.GetGlobalVersionResponse, pb.SubmitDeltaResponse, pb.DownloadAdapterResponse)[chosen]
    return frame([kind]) + mutate_one_of(parts, rng, lambda part, rng: mutate_message(message, part, rng))  # type: ignore[arg-type]


def _spoilt_details(data: bytes, rng: random.Random) -> bytes:
    """Return rich details of which one is spoiled inside, where a change of bytes seldom gets."""
    status = status_pb2.Status()
    try:
        status.ParseFromString(data)
    except DecodeError:
        return mutate_bytes(data, rng)
    if not status.details or rng.random() < 0.3:
        return mutate_message(status_pb2.Status, data, rng)
    detail = rng.choice(status.details)
    kind = error_details_pb2.RetryInfo if "Retry" in detail.type_url else error_details_pb2.ErrorInfo
    if rng.random() < 0.3 and kind is error_details_pb2.ErrorInfo:
        info = error_details_pb2.ErrorInfo(reason=StoreUnreachable.reason, domain="alignfed")
        info.metadata[rng.choice(("message", "self", "", "retry_after_seconds", "\0", "a" * 300))] = "nan"
        detail.value = info.SerializeToString()
    else:
        detail.value = mutate_message(kind, detail.value, rng)
    return status.SerializeToString()


class _Refused(grpc.RpcError):
    """A call that failed, with these trailers."""

    def __init__(self, details: bytes, code: int) -> None:
        super().__init__()
        self._details, self._code = details, _CODES[code % len(_CODES)]

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "later"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._details),)


def check(data: bytes) -> str:
    kind, *parts = unframe(data) or [b""]
    chosen = kind[0] % 4 if kind else 0
    if chosen == 0:
        return _refused(*(*parts, b"", b"\x0e")[:2])
    try:
        return (_polled, _submitted, _downloaded)[chosen - 1](parts)
    except DecodeError:
        return "no message"


def _refused(details: bytes, code: bytes) -> str:
    error = error_of(_Refused(details, code[0] if code else 14), address="there:7300")
    assert isinstance(error, AlignFedError)
    assert error.message
    assert 0 <= wait_seconds(1.0, error) <= 1.0 + LONGEST_HINT_SECONDS
    return f"told {error.reason}"


def _polled(parts: list[bytes]) -> str:
    response = pb.GetGlobalVersionResponse.FromString(b"".join(parts))
    status = messages.status_from_proto(response.status)
    assert repr(status)
    return "polled"


def _submitted(parts: list[bytes]) -> str:
    receipt = messages.receipt_from_proto(pb.SubmitDeltaResponse.FromString(b"".join(parts)).receipt)
    return f"receipt {receipt.state}"


def _downloaded(parts: list[bytes]) -> str:
    download = AdapterDownload(GlobalVersion(epoch=1, number=2, digest=sha256_of(ADAPTER)), PLAN)
    for part in parts:
        it = messages.download_part(part)
        if isinstance(it, ChunkData):
            download.add(it)
        else:
            download.begin(messages.version_from_proto(it.version), total_bytes=it.total_bytes, sha256=it.sha256)
    factors = download.finish()
    assert all(torch.equal(factors[name], FACTORS[name]) for name in FACTORS), "another adapter was accepted"
    return "downloaded"


TARGET = Target(name="answers", seeds=seeds, mutate=mutate, check=check)
