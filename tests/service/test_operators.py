"""The operators' side: a federation is created whole or not at all, and everything about it can be seen and steered."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest

from alignfed.chunks import cut, sha256_of
from alignfed.plan import BaseModel, Calibration, Encoding, FederationPlan
from alignfed.plan_proto import plan_from_proto, plan_to_proto
from alignfed.v1 import operator_service_pb2 as pb
from alignfed.v1 import types_pb2
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, WireDelta, payload_of, refused, wire_plan
from tests.support.stores import publish, receipt_of, submit, take_lease
from tests.support.watched_store import WatchedStore

ADAPTER = payload_of(wire_plan(), Encoding.FP32)
CALIBRATION = b'{"text": "a row"}\n' * 100
INVALID = grpc.StatusCode.INVALID_ARGUMENT

Messages = list[pb.CreateFederationRequest]


def header(plan: FederationPlan | None = None, **changes: Any) -> pb.CreateFederationRequest:
    fields = {
        "plan": plan_to_proto(plan or wire_plan()),
        "adapter_bytes": len(ADAPTER),
        "adapter_sha256": sha256_of(ADAPTER),
        "calibration_bytes": len(CALIBRATION),
        "calibration_sha256": sha256_of(CALIBRATION),
    }
    return pb.CreateFederationRequest(header=pb.CreateFederationHeader(**(fields | changes)))


def chunks(payload: bytes, kind: str) -> Messages:
    return [
        pb.CreateFederationRequest(**{kind: types_pb2.Chunk(offset=it.offset, data=it.data, crc32c=it.crc32c)})
        for it in cut(payload, chunk_bytes=CHUNK_BYTES)
    ]


def creation() -> Messages:
    return [header(), *chunks(ADAPTER, "adapter_chunk"), *chunks(CALIBRATION, "calibration_chunk")]


async def create(running: Running, messages: Messages) -> pb.CreateFederationResponse:
    return await running.client.create(messages)


async def test_a_created_federation_is_version_0_with_its_adapter_and_calibration_set(
    coordinator: Running, store: WatchedStore
) -> None:
    response = await create(coordinator, creation())
    head = response.status.head
    assert (head.epoch, head.number, head.digest) == (0, 0, sha256_of(ADAPTER))
    record = await store.federations.get("fed")
    assert record.plan == wire_plan()
    assert record.calibration is not None
    initial = await store.versions.get("fed", 0)
    for blob, payload in ((initial.adapter, ADAPTER), (record.calibration, CALIBRATION)):
        parts = [await store.blobs.get_part(blob.blob_id, index) for index in range(blob.parts)]
        assert b"".join(parts) == payload
    call = coordinator.client.operators.ExportAdapter(pb.ExportAdapterRequest(federation="fed"), timeout=20)
    assert b"".join([part.chunk.data async for part in call]) == ADAPTER


async def test_a_name_is_taken_once_and_the_second_payload_is_not_read(
    coordinator: Running, store: WatchedStore
) -> None:
    await create(coordinator, creation())
    store.calls.clear()
    refusal = await refused(create(coordinator, [header()]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "FEDERATION_EXISTS")
    assert store.calls["blobs.begin"] == 0


async def test_of_two_creations_at_once_one_wins_and_keeps_its_payload(
    coordinator: Running, store: WatchedStore
) -> None:
    first, second = (coordinator.client.operators.CreateFederation(timeout=20) for _ in range(2))
    messages = creation()
    for message in messages[:-1]:
        await first.write(message)
        await second.write(message)
    await first.write(messages[-1])
    await first.done_writing()
    assert (await first).status.head.number == 0
    await second.write(messages[-1])
    await second.done_writing()
    assert (await refused(second)).reason == "FEDERATION_EXISTS"
    await store.blobs.sweep("fed", unclaimed_before=float("inf"))
    call = coordinator.client.operators.ExportAdapter(pb.ExportAdapterRequest(federation="fed"), timeout=20)
    assert b"".join([part.chunk.data async for part in call]) == ADAPTER


async def test_a_federation_without_calibration_rows_needs_no_calibration_set(coordinator: Running) -> None:
    plan = wire_plan(calibration=Calibration(fit_rows=0, judge_rows=0))
    messages = [
        header(plan, calibration_bytes=0, calibration_sha256=""),
        *chunks(ADAPTER, "adapter_chunk"),
    ]
    assert (await create(coordinator, messages)).status.head.number == 0


def without_tensors(plan: FederationPlan) -> FederationPlan:
    return dataclasses.replace(plan, tensors=())


def without_digest(plan: FederationPlan) -> FederationPlan:
    return dataclasses.replace(plan, base_model=BaseModel(name="tiny"))


def unsorted(plan: FederationPlan) -> FederationPlan:
    return dataclasses.replace(plan, tensors=plan.tensors[::-1])


def out_of_range(plan: FederationPlan) -> FederationPlan:
    return dataclasses.replace(plan, lora=dataclasses.replace(plan.lora, rank=0, alpha=1.0))


def ill_named(plan: FederationPlan) -> FederationPlan:
    return dataclasses.replace(plan, federation="No Such Name")


@pytest.mark.parametrize("spoil", [without_tensors, without_digest, unsorted, out_of_range, ill_named])
async def test_a_plan_that_cannot_work_is_refused(spoil: Any, coordinator: Running) -> None:
    refusal = await refused(create(coordinator, [header(spoil(wire_plan()))]))
    assert (refusal.code, refusal.reason) == (INVALID, "PLAN_INVALID")


def foreign_prefix() -> Messages:
    payload = ADAPTER.replace(b"q_proj", b"k_proj")
    return [header(adapter_sha256=sha256_of(payload)), *chunks(payload, "adapter_chunk")]


def repeated_header() -> Messages:
    return [*creation()[:2], header()]


def calibration_first() -> Messages:
    return [header(), *chunks(CALIBRATION, "calibration_chunk")]


def adapter_in_calibration() -> Messages:
    return [header(), *chunks(ADAPTER, "adapter_chunk"), *chunks(ADAPTER, "adapter_chunk")]


def too_much() -> Messages:
    return [*creation(), creation()[-1]]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "HEADER_MISSING"),
        (creation()[1:], "HEADER_MISSING"),
        (repeated_header(), "HEADER_REPEATED"),
        ([header(adapter_bytes=len(ADAPTER) + 1)], "PAYLOAD_OVERSIZED"),
        ([header(adapter_bytes=len(ADAPTER) - 1)], "PAYLOAD_TRUNCATED"),
        ([header(calibration_bytes=1 << 50)], "PAYLOAD_OVERSIZED"),
        ([header(adapter_sha256="x")], "HEADER_INVALID"),
        ([header(calibration_sha256="")], "HEADER_INVALID"),
        ([header(calibration_bytes=0)], "CALIBRATION_MISSING"),
        (creation()[:-1], "PAYLOAD_TRUNCATED"),
        (creation()[:4], "PAYLOAD_TRUNCATED"),
        (calibration_first(), "PAYLOAD_TRUNCATED"),
        (adapter_in_calibration(), "PAYLOAD_TRUNCATED"),
        (too_much(), "PAYLOAD_OVERSIZED"),
        (foreign_prefix(), "MANIFEST_MISMATCH"),
        ([header(adapter_sha256="00" * 32), *creation()[1:]], "PAYLOAD_DIGEST_MISMATCH"),
        ([header(), pb.CreateFederationRequest()], "REQUEST_INVALID"),
    ],
)
async def test_a_creation_that_is_not_what_it_announces_leaves_nothing(
    messages: Messages, reason: str, coordinator: Running, store: WatchedStore
) -> None:
    assert (await refused(create(coordinator, messages))).reason == reason
    assert await store.federations.names() == []
    assert await store.blobs.sweep("fed", unclaimed_before=float("inf")) == 0
    assert (await create(coordinator, creation())).status.head.number == 0


async def test_a_federation_shows_what_it_is_and_what_waits(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    await submit(store, "fed")
    await submit(store, "fed", agent_id="agent-2")
    await store.deltas.claim("fed", "worker-1", limit=1)
    operators = coordinator.client.operators
    assert list((await operators.ListFederations(pb.ListFederationsRequest())).federations) == ["fed"]
    shown = await operators.GetFederation(pb.GetFederationRequest(federation="fed"))
    assert plan_from_proto(shown.plan) == plan
    assert (shown.queue_deltas, shown.pending_deltas, shown.dead_letters, shown.agents) == (2, 1, 0, 2)
    assert shown.created_at.seconds == int((await store.federations.get("fed")).created_at)
    assert shown.status.head.number == 0


async def test_versions_are_listed_newest_first_and_shown_with_their_merge_record(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    for _ in range(3):
        await publish(store, "fed")
    operators = coordinator.client.operators

    async def numbers(**fields: int) -> list[int]:
        listed = await operators.ListVersions(pb.ListVersionsRequest(federation="fed", **fields))
        assert not any(it.HasField("merge") for it in listed.versions)
        return [it.id.number for it in listed.versions]

    assert await numbers() == [3, 2, 1, 0]
    assert await numbers(limit=2) == [3, 2]
    assert await numbers(before_number=2) == [1, 0]
    assert await numbers(before_number=2**63) == [3, 2, 1, 0]
    assert await numbers(before_number=0) == []
    too_many = operators.ListVersions(pb.ListVersionsRequest(federation="fed", limit=501))
    assert (await refused(too_many)).reason == "REQUEST_INVALID"

    newest = (await operators.GetVersion(pb.GetVersionRequest(federation="fed"))).version
    assert (newest.id.number, newest.kind, newest.parent_number) == (3, pb.VERSION_KIND_MERGE, 2)
    assert (newest.deltas, newest.calibration_loss, newest.serves_average) == (1, 2.5, True)
    (merged,) = newest.merge.deltas
    assert (merged.agent_id, merged.weight, merged.base_version.number) == ("agent-1", 1.0, 2)
    first = (await operators.GetVersion(pb.GetVersionRequest(federation="fed", number=0))).version
    assert first.kind == pb.VERSION_KIND_INITIAL
    assert not first.HasField("parent_number")
    assert not first.HasField("calibration_loss")


async def test_merging_is_paused_and_resumed(coordinator: Running, store: WatchedStore, plan: FederationPlan) -> None:
    operators = coordinator.client.operators
    for _ in range(2):
        assert (await operators.PauseFederation(pb.PauseFederationRequest(federation="fed"))).status.paused
    assert (await store.federations.get("fed")).paused
    for _ in range(2):
        assert not (await operators.ResumeFederation(pb.ResumeFederationRequest(federation="fed"))).status.paused


async def test_a_rollback_is_a_new_version_that_deltas_may_start_from(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    abandoned = await publish(store, "fed")
    operators = coordinator.client.operators
    rolled = await operators.RollBackFederation(pb.RollBackFederationRequest(federation="fed", number=0))
    assert rolled.status.head.number == 2
    shown = (await operators.GetVersion(pb.GetVersionRequest(federation="fed", number=1))).version
    assert shown.abandoned
    refusal = await refused(coordinator.client.submit(WireDelta.of(plan, abandoned.id).messages()))
    assert refusal.reason == "BASE_VERSION_OTHER_BRANCH"
    delta = WireDelta.of(plan, (await store.versions.head("fed")).id)
    assert (await coordinator.client.submit(delta.messages())).receipt.state == types_pb2.DELTA_STATE_QUEUED
    for number in (77, 2**63):
        lost = operators.RollBackFederation(pb.RollBackFederationRequest(federation="fed", number=number))
        assert (await refused(lost)).reason == "VERSION_NOT_FOUND"


async def test_agents_are_listed_with_what_they_contributed(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    await publish(store, "fed", agent_id="agent-2")
    operators = coordinator.client.operators
    await operators.RevokeAgent(pb.RevokeAgentRequest(federation="fed", agent_id="agent-1"))
    listed = (await operators.ListAgents(pb.ListAgentsRequest(federation="fed"))).agents
    assert [(it.agent_id, it.merged_deltas, it.merged_weight, it.revoked) for it in listed] == [
        ("agent-1", 0, 0.0, True),
        ("agent-2", 1, 1.0, False),
    ]
    assert listed[0].capabilities.device == "cpu"
    stranger = operators.RevokeAgent(pb.RevokeAgentRequest(federation="fed", agent_id="stranger"))
    assert (await refused(stranger)).reason == "AGENT_UNKNOWN"


async def test_dead_letters_are_requeued_or_dropped(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    deltas = [await submit(store, "fed") for _ in range(2)]
    token = await take_lease(store, "fed")
    for at, queued in enumerate(await store.deltas.claim("fed", "worker-1", limit=2)):
        await store.deltas.bury("fed", token, queued, detail="poison", at=float(at))
    operators = coordinator.client.operators
    letters = (await operators.ListDeadLetters(pb.ListDeadLettersRequest(federation="fed"))).dead_letters
    assert [(it.delta_id, it.agent_id, it.detail) for it in letters] == [
        (it.delta_id, "agent-1", "poison") for it in deltas
    ]
    await operators.RequeueDeadLetter(pb.RequeueDeadLetterRequest(federation="fed", delta_id=deltas[0].delta_id))
    await operators.DropDeadLetter(pb.DropDeadLetterRequest(federation="fed", delta_id=deltas[1].delta_id))
    assert (await receipt_of(store, deltas[1])).reason == "DROPPED_BY_OPERATOR"
    shown = await operators.GetFederation(pb.GetFederationRequest(federation="fed"))
    assert (shown.queue_deltas, shown.dead_letters) == (1, 0)
    gone = operators.DropDeadLetter(pb.DropDeadLetterRequest(federation="fed", delta_id=deltas[1].delta_id))
    assert (await refused(gone)).reason == "DEAD_LETTER_NOT_FOUND"


@pytest.mark.parametrize(
    "request_type",
    ["GetFederation", "ListVersions", "GetVersion", "PauseFederation", "ResumeFederation", "RollBackFederation",
     "ListAgents", "RevokeAgent", "ListDeadLetters", "RequeueDeadLetter", "DropDeadLetter"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["nowhere", "{x}:queue", ""])
async def test_an_unknown_federation_is_refused_by_every_rpc(
    request_type: str, name: str, coordinator: Running, store: WatchedStore
) -> None:
    request = getattr(pb, f"{request_type}Request")(federation=name)
    refusal = await refused(getattr(coordinator.client.operators, request_type)(request, timeout=10))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "FEDERATION_UNKNOWN")


async def test_agents_cannot_reach_the_operators_rpcs_on_their_port(coordinator: Running, start: Start) -> None:
    call = coordinator.client.channel.unary_unary("/alignfed.v1.OperatorService/ListFederations")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
