"""The store goes away in flight: clients are told to come back, and everything goes on where it was."""

from __future__ import annotations

import grpc
import pytest

from alignfed.errors import StoreFull
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import operator_service_pb2 as pb
from alignfed.v1 import types_pb2
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, WireDelta, refused
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def test_an_upload_that_loses_the_store_resumes_when_it_is_back(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    call = coordinator.client.agents.SubmitDelta(timeout=20)
    await call.write(delta.header())
    for message in delta.chunks()[:3]:
        await call.write(message)

    async def stored() -> bool:
        return (await coordinator.client.query(delta)).resume_offset == 3 * CHUNK_BYTES

    await eventually(stored, what="three chunks are stored")
    store.go_away()
    await call.write(delta.chunks()[3])
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == (UNAVAILABLE, "STORE_UNREACHABLE")
    assert refusal.retry_seconds
    assert (await refused(coordinator.client.query(delta))).reason == "STORE_UNREACHABLE"
    assert coordinator.metric("alignfed_uploads_total", federation="fed", outcome="store_unreachable") == 1

    store.come_back()
    progress = await coordinator.client.query(delta)
    assert progress.resume_offset == 3 * CHUNK_BYTES
    response = await coordinator.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == types_pb2.DELTA_STATE_QUEUED


async def test_an_acknowledgement_that_got_lost_is_given_again(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    """The store accepts the delta but its answer never arrives."""
    accept = store._inner.deltas.accept

    async def accept_and_lose_the_answer(record: object) -> None:
        await accept(record)
        store.go_away()
        store._check()

    store._inner.deltas.accept = accept_and_lose_the_answer
    assert (await refused(coordinator.client.submit(delta.messages()))).reason == "STORE_UNREACHABLE"
    store.come_back()
    again = await coordinator.client.submit([delta.header()])
    assert again.receipt.state == types_pb2.DELTA_STATE_QUEUED
    assert (await store.deltas.depth("fed")).queued == 1


async def test_a_coordinator_that_never_saw_the_federation_says_that_the_store_is_away(
    coordinator: Running, store: WatchedStore, plan: FederationPlan, delta: WireDelta
) -> None:
    store.go_away()
    for rpc in (
        coordinator.client.submit(delta.messages()),
        coordinator.client.agents.RegisterAgent(
            agent_pb.RegisterAgentRequest(federation="fed", agent_id="agent-1"), timeout=10
        ),
        coordinator.client.operators.ListFederations(pb.ListFederationsRequest(), timeout=10),
        coordinator.client.operators.GetFederation(pb.GetFederationRequest(federation="fed"), timeout=10),
    ):
        refusal = await refused(rpc)
        assert (refusal.code, refusal.reason) == (UNAVAILABLE, "STORE_UNREACHABLE")
    store.come_back()
    assert (await coordinator.client.submit(delta.messages())).receipt.state == types_pb2.DELTA_STATE_QUEUED


async def test_a_full_store_refuses_cleanly_and_recovers(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    store.failures["blobs.put_part"] = StoreFull("no memory left")
    refusal = await refused(coordinator.client.submit(delta.messages()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
    del store.failures["blobs.put_part"]
    assert (await coordinator.client.submit(delta.messages())).receipt.state == types_pb2.DELTA_STATE_QUEUED


@pytest.mark.parametrize("call", ["blobs.begin", "blobs.put_part", "deltas.accept", "deltas.receipt"])
async def test_a_store_that_hangs_does_not_hang_uploads(
    call: str, start: Start, store: WatchedStore, delta: WireDelta
) -> None:
    running = await start(store_timeout_seconds=0.2)
    gate = store.hold(call)
    refusal = await refused(running.client.submit(delta.messages(), timeout=None))
    assert (refusal.code, refusal.reason) == (UNAVAILABLE, "STORE_UNREACHABLE")
    gate.set()
    progress = await running.client.query(delta)
    response = await running.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == types_pb2.DELTA_STATE_QUEUED


async def test_a_store_that_hangs_does_not_hang_unary_calls(
    start: Start, store: WatchedStore, plan: FederationPlan, delta: WireDelta
) -> None:
    running = await start(unary_timeout_seconds=0.2)
    for call in ("federations.names", "deltas.receipt"):
        store.hold(call)
    for rpc in (
        running.client.operators.ListFederations(pb.ListFederationsRequest()),
        running.client.agents.QueryUpload(
            agent_pb.QueryUploadRequest(
                federation="fed", agent_id="agent-1", delta_id=delta.delta_id, sha256=delta.sha256
            )
        ),
    ):
        refusal = await refused(rpc)
        assert (refusal.code, refusal.reason) == (UNAVAILABLE, "STORE_UNREACHABLE")
