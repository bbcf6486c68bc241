"""A client of the coordinator's wire that can misbehave: it sends exactly the messages a test gives it.

`RawClient` holds the stubs; `WireDelta` makes headers and chunks of a valid delta, which tests then spoil; `refused`
returns what a refusal says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import uuid
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from alignfed.chunks import cut, sha256_of
from alignfed.layout import layout_of
from alignfed.plan import BaseModel, Calibration, Encoding, FederationPlan, Limits, Lora, Retention, TensorSpec
from alignfed.plan_proto import ENCODING_TO_PROTO, tensors_to_proto
from alignfed.screening import NO_SCREENING
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import operator_service_pb2 as operator_pb
from alignfed.v1 import types_pb2 as pb
from alignfed.v1.agent_service_pb2_grpc import AgentServiceStub
from alignfed.v1.operator_service_pb2_grpc import OperatorServiceStub
from coordinator.domain import VersionId

CHUNK_BYTES = 1024
BASE_MODEL_DIGEST = "ab" * 32


def wire_plan(
    federation: str = "fed",
    *,
    columns: int = 1024,
    chunk_bytes: int = CHUNK_BYTES,
    max_queue_deltas: int = 1000,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    calibration: Calibration = Calibration(),  # noqa: B008 (frozen)
) -> FederationPlan:
    """Return a plan whose deltas are about `8 * columns` bytes: nine chunks by default."""
    return FederationPlan(
        federation=federation,
        base_model=BaseModel(name="tiny", digest=BASE_MODEL_DIGEST),
        lora=Lora(rank=2, target_modules=("q_proj",)),
        calibration=calibration,
        screening=NO_SCREENING,
        limits=Limits(chunk_bytes=chunk_bytes, max_queue_deltas=max_queue_deltas),
        retention=retention,
        tensors=(
            TensorSpec(name="q_proj.lora_A.weight", shape=(2, columns)),
            TensorSpec(name="q_proj.lora_B.weight", shape=(columns, 2)),
        ),
    ).validate()


def payload_of(plan: FederationPlan, encoding: Encoding, *, seed: int = 0) -> bytes:
    """Return a payload with the plan's layout and arbitrary elements."""
    layout = layout_of(plan.tensors, encoding, topk_ratio=plan.topk_ratio)
    return layout.prefix + random.Random(seed).randbytes(layout.total_bytes - len(layout.prefix))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WireDelta:
    """A valid delta as an agent would send it."""

    plan: FederationPlan
    base: VersionId
    agent_id: str
    delta_id: str
    payload: bytes

    @classmethod
    def of(cls, plan: FederationPlan, base: VersionId, *, agent_id: str = "agent-1", seed: int = 0) -> Self:
        """Make a delta with a fresh id."""
        payload = payload_of(plan, plan.delta_encoding, seed=seed)
        return cls(plan=plan, base=base, agent_id=agent_id, delta_id=str(uuid.uuid4()), payload=payload)

    @property
    def sha256(self) -> str:
        return sha256_of(self.payload)

    def header(self, **changes: Any) -> agent_pb.SubmitDeltaRequest:
        """Return the header, with fields replaced."""
        fields: dict[str, Any] = {
            "federation": self.plan.federation,
            "agent_id": self.agent_id,
            "delta_id": self.delta_id,
            "base_version": version_id(self.base),
            "base_model_digest": self.plan.base_model.digest,
            "examples": 32,
            "local_steps": 16,
            "encoding": ENCODING_TO_PROTO[self.plan.delta_encoding],
            "rank": self.plan.lora.rank,
            "tensors": tensors_to_proto(self.plan.tensors),
            "total_bytes": len(self.payload),
            "sha256": self.sha256,
        }
        return agent_pb.SubmitDeltaRequest(header=pb.DeltaHeader(**(fields | changes)))

    def chunks(self, offset: int = 0) -> list[agent_pb.SubmitDeltaRequest]:
        """Return the payload's chunks from `offset` on."""
        pieces = cut(self.payload, chunk_bytes=self.plan.limits.chunk_bytes, offset=offset)
        return [
            agent_pb.SubmitDeltaRequest(chunk=pb.Chunk(offset=it.offset, data=it.data, crc32c=it.crc32c))
            for it in pieces
        ]

    def messages(self, offset: int = 0) -> list[agent_pb.SubmitDeltaRequest]:
        """Return a whole, valid upload."""
        return [self.header(), *self.chunks(offset)]


def version_id(base: VersionId) -> pb.VersionId:
    """Return a version's identity as a message."""
    return pb.VersionId(epoch=base.epoch, number=base.number, digest=base.digest)


class RawClient:
    """Stubs of both services; close it after use.

    Whole uploads go over gRPC's blocking API, as agents send them: its asyncio client reports INTERNAL instead of the
    server's status when the server ends a stream that is still being written (grpc/grpc#36066).
    """

    def __init__(
        self,
        *,
        agent_port: int,
        operator_port: int,
        agent: grpc.ChannelCredentials | None = None,
        operator: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.channel = _channel(grpc.aio, agent_port, agent)
        self.operator_channel = _channel(grpc.aio, operator_port, operator)
        self.agents = AgentServiceStub(self.channel)
        self.operators = OperatorServiceStub(self.operator_channel)
        self._blocking = [_channel(grpc, agent_port, agent), _channel(grpc, operator_port, operator)]
        self._submit = AgentServiceStub(self._blocking[0]).SubmitDelta
        self._create = OperatorServiceStub(self._blocking[1]).CreateFederation

    async def close(self) -> None:
        await self.channel.close()
        await self.operator_channel.close()
        for channel in self._blocking:
            channel.close()

    async def submit(
        self,
        messages: Iterable[agent_pb.SubmitDeltaRequest],
        *,
        timeout: float | None = 20.0,
        metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> agent_pb.SubmitDeltaResponse:
        """Send messages as one upload."""
        response: agent_pb.SubmitDeltaResponse = await _answer(
            self._submit, messages, timeout=timeout, metadata=metadata
        )
        return response

    async def create(
        self, messages: Iterable[operator_pb.CreateFederationRequest], *, timeout: float = 20.0
    ) -> operator_pb.CreateFederationResponse:
        """Send messages as one creation of a federation."""
        response: operator_pb.CreateFederationResponse = await _answer(self._create, messages, timeout=timeout)
        return response

    async def query(self, delta: WireDelta, **changes: Any) -> agent_pb.QueryUploadResponse:
        """Ask what is held of a delta."""
        fields: dict[str, Any] = {
            "federation": delta.plan.federation,
            "agent_id": delta.agent_id,
            "delta_id": delta.delta_id,
            "sha256": delta.sha256,
        }
        request = agent_pb.QueryUploadRequest(**(fields | changes))
        response: agent_pb.QueryUploadResponse = await self.agents.QueryUpload(request, timeout=20)
        return response


def _channel(api: Any, port: int, credentials: grpc.ChannelCredentials | None) -> Any:
    address = f"127.0.0.1:{port}"
    return api.insecure_channel(address) if credentials is None else api.secure_channel(address, credentials)


async def _answer(
    method: Any,
    messages: Iterable[Any],
    *,
    timeout: float | None,
    metadata: Sequence[tuple[str, str | bytes]] = (),
) -> Any:
    """Run a blocking client stream and return its response."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    call = method.future(iter(messages), timeout=timeout, metadata=metadata)
    call.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    await ended.wait()
    return call.result()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a refused RPC told its client."""

    code: grpc.StatusCode
    reason: str
    domain: str
    message: str
    metadata: dict[str, str]
    retry_seconds: float | None


async def refused(rpc: Awaitable[Any]) -> Refusal:
    """Await an RPC that must fail with rich details, and return them."""
    try:
        answer = await rpc
    except grpc.RpcError as error:
        return refusal_of(error)
    raise AssertionError(f"the RPC was expected to fail but answered {answer!r}")


def refusal_of(error: Any) -> Refusal:
    """Return the details of a failed RPC."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} came without details: {error.details()}"
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_info = [detail.Unpack(info) for detail in status.details]
    has_retry = [detail.Unpack(retry) for detail in status.details]
    assert any(has_info), f"{error.code()} came without ErrorInfo"
    return Refusal(
        code=error.code(),
        reason=info.reason,
        domain=info.domain,
        message=error.details() or "",
        metadata=dict(info.metadata),
        retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if any(has_retry) else None,
    )
