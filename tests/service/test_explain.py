"""What became of a delta, and how a coordinator is: asked over the wire of a real server."""

from __future__ import annotations

import dataclasses

import grpc

from alignfed import __version__
from alignfed.plan import FederationPlan
from alignfed.v1 import operator_service_pb2 as pb
from coordinator.domain import QueuedDelta, Rejection, delta_blob_id
from tests.service.conftest import Running
from tests.support.raw_client import refused
from tests.support.stores import NOW, new_commit, new_delta, publish, submit, take_lease
from tests.support.watched_store import WatchedStore


async def explained(running: Running, plan: FederationPlan, delta_id: str) -> pb.ExplainDeltaResponse:
    request = pb.ExplainDeltaRequest(federation=plan.federation, delta_id=delta_id)
    response: pb.ExplainDeltaResponse = await running.client.operators.ExplainDelta(request, timeout=20)
    return response


async def claimed(store: WatchedStore, plan: FederationPlan) -> tuple[int, list[QueuedDelta]]:
    token = await take_lease(store, plan.federation)
    queued = await store.deltas.claim(plan.federation, "worker-1", limit=10)
    return token, queued


async def test_a_waiting_delta_tells_its_place_and_what_it_was_trained_from(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    await publish(store, plan.federation)
    base = (await store.versions.head(plan.federation)).id
    await publish(store, plan.federation)
    await submit(store, plan.federation)
    second = await new_delta(store, plan.federation, agent_id="agent-2", base=base)
    await store.deltas.accept(second)

    found = await explained(coordinator, plan, second.delta_id)

    assert (found.fate, found.agent_id, found.delta_id) == (pb.DELTA_FATE_QUEUED, "agent-2", second.delta_id)
    assert (found.queue.place, found.queue.queue_deltas, found.queue.claimed_by) == (2, 2, "")
    assert (found.queue.base_version.number, found.queue.staleness_versions, found.queue.examples) == (1, 1, 32)
    assert found.status.head.number == 2
    assert found.accepted_at.ToMicroseconds() == round(NOW * 1e6)
    assert not found.HasField("version")
    assert not found.HasField("dead_letter")


async def test_a_claimed_delta_names_the_worker_and_its_attempts(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    delta = await submit(store, plan.federation)
    _, queued = await claimed(store, plan)
    await store.deltas.count_attempt(plan.federation, "worker-1", queued)
    found = await explained(coordinator, plan, delta.delta_id)
    assert (found.fate, found.queue.claimed_by, found.queue.attempts) == (pb.DELTA_FATE_CLAIMED, "worker-1", 1)


async def test_a_rejected_delta_tells_reason_and_advice(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    delta = await submit(store, plan.federation)
    token, [queued] = await claimed(store, plan)
    rejection = Rejection(queued=queued, reason="NON_FINITE", detail="lower the learning rate")
    await store.deltas.reject(plan.federation, token, [rejection])
    found = await explained(coordinator, plan, delta.delta_id)
    assert (found.fate, found.reason, found.detail) == (
        pb.DELTA_FATE_REJECTED, "NON_FINITE", "lower the learning rate",
    )  # fmt: skip


async def test_a_dead_letter_tells_why_it_was_given_up(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    delta = await submit(store, plan.federation)
    token, [queued] = await claimed(store, plan)
    await store.deltas.bury(plan.federation, token, queued, detail="it kills", at=NOW)
    found = await explained(coordinator, plan, delta.delta_id)
    assert (found.fate, found.dead_letter.detail) == (pb.DELTA_FATE_DEAD_LETTER, "it kills")


async def test_a_merged_delta_comes_with_its_version_and_merge_record(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    deltas = [await submit(store, plan.federation) for _ in range(2)]
    token, queued = await claimed(store, plan)
    commit = await new_commit(store, plan.federation, token, queued, weights=(0.25, 0.75))
    await store.versions.commit(commit)
    found = await explained(coordinator, plan, deltas[1].delta_id)
    assert (found.fate, found.version.id.number) == (pb.DELTA_FATE_MERGED, 1)
    assert {it.delta_id: it.weight for it in found.version.merge.deltas}[deltas[1].delta_id] == 0.75
    assert not found.version.abandoned
    assert not found.HasField("abandoned_by")


async def test_a_rollback_that_abandoned_the_version_is_named_and_earlier_ones_are_not(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    first = await publish(store, plan.federation)
    await store.versions.roll_back(plan.federation, 0, at=NOW)
    third = await publish(store, plan.federation)
    await publish(store, plan.federation)
    await store.versions.roll_back(plan.federation, 2, at=NOW)
    for version, rollback in ((first, 2), (third, 5)):
        assert version.merge is not None
        found = await explained(coordinator, plan, version.merge.deltas[0].delta_id)
        assert (found.version.abandoned, found.abandoned_by) == (True, rollback)


async def test_an_upload_that_has_begun_is_told_apart_from_one_that_never_did(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    delta_id = "3f2c9a1e-0000-4000-8000-000000000001"
    blob_id = delta_blob_id(plan.federation, "agent.with.dots", delta_id, sha256="ab" * 32)
    await store.blobs.begin(plan.federation, blob_id, at=NOW)
    for asked in (delta_id, delta_id[:6]):
        found = await explained(coordinator, plan, asked)
        assert (found.fate, found.agent_id, found.delta_id) == (pb.DELTA_FATE_UPLOADING, "agent.with.dots", delta_id)
        assert found.upload_begun_at.ToMicroseconds() == round(NOW * 1e6)
        assert not found.HasField("accepted_at")
    refusal = await refused(explained(coordinator, plan, "3f2c9a1e-0000-4000-8000-000000000002"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "DELTA_NOT_FOUND")


async def test_a_beginning_must_be_long_enough_and_unique(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    for delta_id in ("abcd-1", "abcd-2", "abce-3"):
        await store.deltas.accept(await new_delta(store, plan.federation, delta_id=delta_id))
    assert (await explained(coordinator, plan, "abce")).delta_id == "abce-3"
    for vague in ("abcd", "abc", "", "ab*d", "x" * 100):
        assert (await refused(explained(coordinator, plan, vague))).reason == "REQUEST_INVALID"


async def test_an_unknown_federation_is_named(coordinator: Running, plan: FederationPlan) -> None:
    elsewhere = dataclasses.replace(plan, federation="elsewhere")
    assert (await refused(explained(coordinator, elsewhere, "abcd"))).reason == "FEDERATION_UNKNOWN"


async def inspected(running: Running) -> pb.InspectCoordinatorResponse:
    response: pb.InspectCoordinatorResponse = await running.client.operators.InspectCoordinator(
        pb.InspectCoordinatorRequest(), timeout=20
    )
    return response


async def test_an_inspection_tells_version_store_and_leader(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    await take_lease(store, plan.federation, "worker-9")
    found = await inspected(coordinator)
    [health] = found.federations
    assert (found.software_version, found.store_problem, len(found.store)) == (__version__, "", 1)
    assert (health.federation, health.worker_id, health.head_stored) == (plan.federation, "worker-9", True)
    assert (health.calibration_wanted, health.calibration_stored) == (True, True)
    assert 0 < health.lease_left.seconds <= 60


async def test_an_inspection_answers_while_the_store_is_away(coordinator: Running, store: WatchedStore) -> None:
    store.go_away()
    found = await inspected(coordinator)
    assert "taken away" in found.store_problem
    assert not found.store
    assert found.software_version == __version__


async def test_the_oldest_delta_of_the_queue_is_told(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    request = pb.GetFederationRequest(federation=plan.federation)
    assert not (await coordinator.client.operators.GetFederation(request, timeout=20)).HasField("oldest_queued_at")
    await submit(store, plan.federation, accepted_at=NOW - 50)
    await submit(store, plan.federation, accepted_at=NOW)
    found = await coordinator.client.operators.GetFederation(request, timeout=20)
    assert found.oldest_queued_at.ToMicroseconds() == round((NOW - 50) * 1e6)
