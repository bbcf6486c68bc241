"""Every other message that comes over the wire: requests of both services, and answers as an agent reads them."""

from __future__ import annotations

import dataclasses
import random

from google.protobuf.message import DecodeError, Message

from alignfed.layout import layout_of
from alignfed.plan import FEDERATION_NAME, Encoding
from alignfed.plan_proto import plan_from_proto, plan_to_proto
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import operator_service_pb2 as operator_pb
from coordinator.backends.redis import records
from coordinator.cli import operator_messages
from coordinator.domain import FederationRecord
from coordinator.service import admission
from coordinator.service.config import ServiceConfig
from coordinator.service.rpc import convert
from coordinator.service.transfers.creation import CreationHeader, check_announcement, check_plan
from edge_agent.wire import messages as agent_messages
from tests.fuzz.mutations import mutate_message
from tests.fuzz.target import Target
from tests.support.raw_client import wire_plan
from tests.support.stores import NOW

KINDS: tuple[type[Message], ...] = (
    agent_pb.RegisterAgentRequest,
    agent_pb.GetGlobalVersionRequest,
    agent_pb.QueryUploadRequest,
    operator_pb.CreateFederationRequest,
    agent_pb.RegisterAgentResponse,
    agent_pb.QueryUploadResponse,
    operator_pb.GetFederationResponse,
)
"""An input's first byte chooses among these."""


def seeds() -> list[bytes]:
    plan = wire_plan(columns=16)
    digest = "ab" * 32
    version = {"epoch": 1, "number": 2, "digest": digest}
    status = {"head": version, "oldest_retained_number": 0}
    capabilities = {"device": "cpu", "memory_bytes": 2**30, "software_version": "0.1", "tier": "fast", "examples": 9}
    adapter_bytes = layout_of(plan.tensors, Encoding.FP32).total_bytes
    valid: list[Message] = [
        agent_pb.RegisterAgentRequest(federation="fed", agent_id="agent-1", capabilities=capabilities),
        agent_pb.GetGlobalVersionRequest(
            federation="fed", agent_id="a", after_number=3, max_wait={"seconds": 5, "nanos": 7}
        ),
        agent_pb.QueryUploadRequest(federation="fed", agent_id="a", delta_id="x", sha256=digest, rank=2),
        operator_pb.CreateFederationRequest(
            header=operator_pb.CreateFederationHeader(
                plan=plan_to_proto(plan),
                adapter_bytes=adapter_bytes,
                adapter_sha256=digest,
                calibration_bytes=100,
                calibration_sha256=digest,
            )
        ),
        agent_pb.RegisterAgentResponse(plan=plan_to_proto(plan), status=status),
        agent_pb.QueryUploadResponse(
            receipt={"delta_id": "d", "state": 2, "accepted_at": {"seconds": 9}, "merged_version": version},
            status=status,
        ),
        operator_pb.GetFederationResponse(plan=plan_to_proto(plan), status=status, created_at={"seconds": 9}, agents=3),
    ]
    return [bytes((KINDS.index(type(message)),)) + message.SerializeToString() for message in valid]


def mutate(data: bytes, rng: random.Random) -> bytes:
    index = data[0] % len(KINDS) if data else 0
    return bytes((index,)) + mutate_message(KINDS[index], data[1:], rng)


def check(data: bytes) -> str:
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    message = kind()
    try:
        message.ParseFromString(data[1:])
    except DecodeError:
        return "no message"
    _CHECKS[kind](message)
    return f"accepted {kind.__name__}"


def _registration(message: agent_pb.RegisterAgentRequest) -> None:
    agent = convert.agent_from_proto(message.agent_id, message.capabilities, at=NOW)
    stored = records.dump_agent(agent)
    read = records.load_agent(agent.agent_id, stored, registered_at=str(NOW), last_seen_at=str(NOW), revoked=False)
    assert read == agent


def _poll(message: agent_pb.GetGlobalVersionRequest) -> None:
    assert 0 <= convert.wait_seconds(message.max_wait, longest=60.0) <= 60


def _query(message: agent_pb.QueryUploadRequest) -> None:
    admission.check_ref(
        admission.DeltaRef(
            federation=message.federation,
            agent_id=message.agent_id,
            delta_id=message.delta_id,
            sha256=message.sha256,
        )
    )


def _creation(request: operator_pb.CreateFederationRequest) -> None:
    message = request.header
    plan = convert.checked_plan_from_proto(message.plan)
    check_plan(plan)
    header = CreationHeader(
        plan=plan,
        adapter_bytes=message.adapter_bytes,
        adapter_sha256=message.adapter_sha256,
        calibration_bytes=message.calibration_bytes,
        calibration_sha256=message.calibration_sha256,
    )
    check_announcement(header, layout_of(plan.tensors, Encoding.FP32), ServiceConfig())
    assert FEDERATION_NAME.fullmatch(plan.federation)
    assert plan_from_proto(plan_to_proto(plan)) == plan, "a plan that was accepted changes on its way to an agent"
    record = FederationRecord(plan=plan, calibration=None, created_at=NOW)
    assert records.load_federation(records.dump_federation(record), paused=False) == record


def _registered(message: agent_pb.RegisterAgentResponse) -> None:
    plan_from_proto(message.plan)
    agent_messages.status_from_proto(message.status)


def _progress(message: agent_pb.QueryUploadResponse) -> None:
    receipt = agent_messages.receipt_from_proto(message.receipt)
    assert dataclasses.asdict(receipt)


def _shown(message: operator_pb.GetFederationResponse) -> None:
    operator_messages.federation_of(message)


_CHECKS = dict(zip(KINDS, (_registration, _poll, _query, _creation, _registered, _progress, _shown), strict=True))

TARGET = Target(name="requests", seeds=seeds, mutate=mutate, check=check)
