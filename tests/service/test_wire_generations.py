"""Old agents with a new coordinator, and back: message classes made from descriptors talk to a real server.

The golden contract is the generation in the field. An older one lacks what was added last, a newer one adds a field to
every message and a value to every enum; each agent registers, polls, uploads, asks and gets its receipt.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from alignfed.chunks import crc32c_of, cut, sha256_of
from alignfed.errors import BaseVersionInFuture
from alignfed.plan import Encoding, FederationPlan
from alignfed.v1 import operator_service_pb2 as operator_pb
from coordinator.domain import FederationRecord, VersionId, VersionKind, VersionRecord
from coordinator.ports import Store
from edge_agent.domain import Capabilities, DeltaMeta, DeltaState, GlobalVersion, ResumeAt
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.download import AdapterDownload
from tests.service.conftest import Running
from tests.support.generation_proxy import GenerationProxy
from tests.support.golden_descriptor import golden
from tests.support.raw_client import WireDelta, payload_of, wire_plan
from tests.support.stores import NOW, publish, store_blob

ADDED_LAST = {
    "GetFederationResponse": {"oldest_queued_at"},
    "QueryUploadRequest": {"rank"},
    "Receipt": {"detail"},
    "HeadStatus": {"paused"},
    "TrainingConfig": {"wait_for_version"},
    "AggregationConfig": {"max_delta_norm_ratio"},
    "LoraConfig": {"freeze_a"},
}
"""Fields that an agent of an earlier generation does not know."""
EXTRA = 7_000
"""Number of what a later generation adds."""


def older() -> FileDescriptorSet:
    contract = golden()
    for file in contract.file:
        for message in file.message_type:
            for field in [it for it in message.field if it.name in ADDED_LAST.get(message.name, ())]:
                message.field.remove(field)
        for service in file.service:
            for method in [it for it in service.method if it.name in ("ExplainDelta", "InspectCoordinator")]:
                service.method.remove(method)
    return contract


def newer() -> FileDescriptorSet:
    contract = golden()
    for file in (it for it in contract.file if it.package == "alignfed.v1"):
        for message in file.message_type:
            message.field.add(name="from_the_future", number=EXTRA, type=FieldDescriptorProto.TYPE_STRING, label=1)
        for enum in file.enum_type:
            enum.value.add(name=f"{enum.name.upper()}_FROM_THE_FUTURE", number=EXTRA)
    return contract


GENERATIONS = {"older": older, "golden": golden, "newer": newer}


class Speaker:
    """A client that knows nothing but a contract."""

    def __init__(self, contract: FileDescriptorSet, port: int) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in contract.file:
            self._pool.Add(file)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def message(self, name: str, **fields: Any) -> Any:
        """Return a message with every field that this generation has beyond ours set."""
        made = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"alignfed.v1.{name}"))(**fields)
        _fill(made)
        return made

    async def call(self, service: str, method: str, requests: Any) -> Any:
        """Call a method by its descriptor and return its response."""
        found = self._pool.FindServiceByName(f"alignfed.v1.{service}").FindMethodByName(method)
        shape = ("stream" if found.client_streaming else "unary", "stream" if found.server_streaming else "unary")
        kind = getattr(self._channel, "_".join(shape))
        response = message_factory.GetMessageClass(found.output_type)
        rpc = kind(
            f"/alignfed.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        if found.server_streaming:
            return await asyncio.to_thread(lambda: list(rpc(requests, timeout=20)))
        return await asyncio.to_thread(rpc, requests, timeout=20)

    def close(self) -> None:
        self._channel.close()


def _fill(message: Any) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            for nested in value if field.is_repeated else (value,):
                _fill(nested)
    if "from_the_future" in message.DESCRIPTOR.fields_by_name:
        message.from_the_future = "not known yet"


def upload(speaker: Speaker, plan: FederationPlan, base: VersionId, payload: bytes, delta_id: str) -> Iterable[Any]:
    header = speaker.message(
        "DeltaHeader",
        federation=plan.federation,
        agent_id="agent-old-or-new",
        delta_id=delta_id,
        base_version={"epoch": base.epoch, "number": base.number, "digest": base.digest},
        base_model_digest=plan.base_model.digest,
        examples=4,
        local_steps=2,
        encoding=2,
        rank=plan.lora.rank,
        tensors=[{"name": spec.name, "shape": spec.shape} for spec in plan.tensors],
        total_bytes=len(payload),
        sha256=sha256_of(payload),
    )
    yield speaker.message("SubmitDeltaRequest", header=header)
    for chunk in cut(payload, chunk_bytes=plan.limits.chunk_bytes):
        sent = speaker.message("Chunk", offset=chunk.offset, data=chunk.data, crc32c=crc32c_of(chunk.data))
        yield speaker.message("SubmitDeltaRequest", chunk=sent)


@pytest.fixture(params=GENERATIONS)
def speaker(request: pytest.FixtureRequest, coordinator: Running) -> Iterator[Speaker]:
    made = Speaker(GENERATIONS[request.param](), coordinator.server.agent_port)
    yield made
    made.close()


async def test_an_agent_of_another_generation_takes_part(
    speaker: Speaker, plan: FederationPlan, base: VersionId, store: Store
) -> None:
    who = {"federation": plan.federation, "agent_id": "agent-old-or-new"}
    capabilities = speaker.message("AgentCapabilities", device="cpu", software_version="0.0.1", tier="slow", examples=4)
    joined = await speaker.call(
        "AgentService", "RegisterAgent", speaker.message("RegisterAgentRequest", **who, capabilities=capabilities)
    )
    assert [spec.name for spec in joined.plan.tensors] == [spec.name for spec in plan.tensors]
    polled = await speaker.call("AgentService", "GetGlobalVersion", speaker.message("GetGlobalVersionRequest", **who))
    assert polled.status.head.digest == base.digest
    parts = await speaker.call(
        "AgentService",
        "DownloadAdapter",
        speaker.message("DownloadAdapterRequest", federation=plan.federation, number=base.number),
    )
    adapter = b"".join(part.chunk.data for part in parts[1:])
    assert (parts[0].header.sha256, sha256_of(adapter)) == (base.digest, base.digest)

    payload, delta_id = payload_of(plan, plan.delta_encoding, seed=7), str(uuid.uuid4())
    answer = await speaker.call("AgentService", "SubmitDelta", upload(speaker, plan, base, payload, delta_id))
    assert (answer.receipt.delta_id, answer.receipt.state) == (delta_id, 1)
    asked = await speaker.call(
        "AgentService",
        "QueryUpload",
        speaker.message("QueryUploadRequest", **who, delta_id=delta_id, sha256=sha256_of(payload)),
    )
    assert asked.receipt.state == 1
    assert (await store.deltas.depth(plan.federation)).queued == 1


@pytest.mark.parametrize("generation", ["older", "golden"])
async def test_a_new_agent_is_content_with_a_coordinator_of_yesterday(generation: str) -> None:
    """It knows neither pace nor the base version in a query: it is asked all the same, and nothing is read into it."""
    asked: list[Any] = []
    contract = GENERATIONS[generation]()
    async with yesterday(contract, asked) as port:
        advice: list[float] = []
        client = CoordinatorClient(f"127.0.0.1:{port}", federation="fed", agent_id="agent-1", on_pace=advice.append)
        try:
            status = await asyncio.to_thread(client.global_version, after=3)
            base = GlobalVersion(epoch=1, number=3, digest="ab" * 32)
            answer = await asyncio.to_thread(client.query_upload, str(uuid.uuid4()), "cd" * 32, rank=2, base=base)
        finally:
            client.close()
    assert (status.head.number, advice) == (7, [0.0])
    assert answer == ResumeAt(offset=2048)
    assert [request.agent_id for request in asked] == ["agent-1", "agent-1"]
    assert not any(field.name == "base_version" for field, _ in asked[1].ListFields())


@asynccontextmanager
async def yesterday(contract: FileDescriptorSet, asked: list[Any]) -> AsyncIterator[int]:
    """Serve two methods of an old contract, as an old coordinator would; note the requests as it understands them."""
    pool = descriptor_pool.DescriptorPool()
    for file in contract.file:
        pool.Add(file)

    def handler(method: str, answer: dict[str, Any]) -> Any:
        found = pool.FindServiceByName("alignfed.v1.AgentService").FindMethodByName(method)
        request, response = (message_factory.GetMessageClass(it) for it in (found.input_type, found.output_type))

        async def handle(message: Any, _context: Any) -> Any:
            asked.append(message)
            return response(**answer)

        return grpc.unary_unary_rpc_method_handler(handle, request.FromString, lambda it: it.SerializeToString())

    status = {"head": {"epoch": 1, "number": 7, "digest": "ab" * 32}}
    methods = {
        "GetGlobalVersion": handler("GetGlobalVersion", {"status": status}),
        "QueryUpload": handler("QueryUpload", {"status": status, "resume_offset": 2048}),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alignfed.v1.AgentService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_the_agent_of_today_takes_part_with_a_coordinator_of_another_generation(
    generation: str, coordinator: Running, store: Store, tmp_path: Path
) -> None:
    """Whatever the older one does not know is dropped both ways: hints, ranks, reasons of newer kinds."""
    plan = wire_plan("whole")
    blob = await store_blob(store, plan.federation, payload_of(plan, Encoding.FP32))
    initial = VersionRecord(
        id=VersionId(epoch=0, number=0, digest=blob.sha256),
        kind=VersionKind.INITIAL,
        parent=None,
        adapter=blob,
        created_at=NOW,
    )
    await store.federations.create(FederationRecord(plan=plan, calibration=None, created_at=NOW), initial)
    with GenerationProxy(GENERATIONS[generation](), coordinator.server.agent_port) as proxy:
        sent = await asyncio.to_thread(take_part, proxy.port, plan, tmp_path)
    assert (await store.deltas.depth(plan.federation)).queued == 1
    assert (await store.deltas.receipt(plan.federation, sent)) is not None
    assert proxy.dropped_bytes or generation != "older", "nothing was dropped: the older generation is not older"


def take_part(port: int, plan: FederationPlan, folder: Path) -> str:
    """Do with the agent's own client all that an agent does, and return the delta's id."""
    payload = payload_of(plan, plan.delta_encoding, seed=3)
    file = folder / "payload"
    file.write_bytes(payload)
    with CoordinatorClient(f"127.0.0.1:{port}", federation=plan.federation, agent_id="agent-today") as client:
        joined = client.register(Capabilities(device="cpu", examples=4, tier="fast"))
        assert joined.plan.tensors == plan.tensors
        status = client.global_version(after=joined.status.head.number, wait_seconds=0.1)
        assert status.head == joined.status.head
        download = AdapterDownload(status.head, plan)
        client.download(download)
        assert download.remaining_bytes == 0
        meta = DeltaMeta(
            delta_id=str(uuid.uuid4()),
            sequence=0,
            base=status.head,
            base_model_digest=plan.base_model.digest,
            examples=4,
            local_steps=2,
            encoding=plan.delta_encoding,
            rank=plan.lora.rank,
            tensors=plan.tensors,
            total_bytes=len(payload),
            sha256=sha256_of(payload),
        )
        resume = client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank)
        assert isinstance(resume, ResumeAt)
        receipt = client.submit(meta, file, resume, chunk_bytes=plan.limits.chunk_bytes)
        assert receipt.state is DeltaState.QUEUED
        assert client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank) == receipt
        with pytest.raises(BaseVersionInFuture):
            wrong = dataclasses.replace(
                meta, delta_id=str(uuid.uuid4()), base=dataclasses.replace(meta.base, number=99)
            )
            client.submit(wrong, file, ResumeAt(offset=0), chunk_bytes=plan.limits.chunk_bytes)
    return meta.delta_id


async def test_an_operator_of_another_generation_sees_the_federation(
    coordinator: Running, plan: FederationPlan, store: Store
) -> None:
    await publish(store, plan.federation)
    ours = await coordinator.client.operators.GetFederation(
        operator_pb.GetFederationRequest(federation=plan.federation), timeout=20
    )
    for make in GENERATIONS.values():
        speaker = Speaker(make(), coordinator.server.operator_port)
        try:
            request = speaker.message("GetFederationRequest", federation=plan.federation)
            theirs = await speaker.call("OperatorService", "GetFederation", request)
            assert theirs.status.head.number == ours.status.head.number == 1
            # What a generation does not know, it passes on unread.
            assert operator_pb.GetFederationResponse.FromString(theirs.SerializeToString()) == ours
        finally:
            speaker.close()


async def test_an_enum_value_of_tomorrow_is_refused_with_its_reason(coordinator: Running, delta: WireDelta) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        await coordinator.client.submit([delta.header(encoding=EXTRA)])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_older_generation_lacks_what_it_should() -> None:
    known = {
        (message.name, field.name) for file in golden().file for message in file.message_type for field in message.field
    }
    wanted = {(message, field) for message, fields in ADDED_LAST.items() for field in fields}
    assert wanted <= known, "a field of this list is not in the golden contract: choose others"
