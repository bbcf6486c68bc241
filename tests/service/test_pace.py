"""Answers tell agents when to come back and what is still worth an upload; who asks is told before a byte is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

import grpc
import pytest

from alignfed.plan import Buffer, FederationPlan, Retention
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.domain import VersionId
from coordinator.service.pace import UNKNOWN_SECONDS
from coordinator.service.rpc.convert import SPREAD
from tests.service.conftest import Running, Start
from tests.support.raw_client import WireDelta, refused, version_id, wire_plan
from tests.support.stores import publish, seed_federation, submit
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

COMFORTABLE = 4


@pytest.fixture
async def plan(store: WatchedStore) -> FederationPlan:
    plan = dataclasses.replace(wire_plan(), buffer=Buffer(size=2), retention=Retention(versions=4))
    return await seed_federation(store, plan)


@pytest.fixture
async def running(start: Start, plan: FederationPlan) -> Running:
    return await start(queue_reread_seconds=0.05)


async def fill(store: WatchedStore, count: int) -> None:
    for _ in range(count):
        await submit(store, "fed", agent_id="agent-2")


async def polled(running: Running) -> pb.Pace:
    request = pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1")
    return (await running.client.agents.GetGlobalVersion(request, timeout=20)).pace


async def watched(running: Running) -> pb.Pace:
    call = running.client.agents.WatchGlobalVersions(
        pb.WatchGlobalVersionsRequest(federation="fed", agent_id="agent-1"), timeout=20
    )
    response = await call.read()
    call.cancel()
    assert isinstance(response, pb.WatchGlobalVersionsResponse)
    return response.pace


Ask = Callable[[Running], Awaitable[pb.Pace]]


@pytest.mark.parametrize("ask", [polled, watched])
async def test_a_long_queue_asks_agents_to_come_back_later(ask: Ask, running: Running, store: WatchedStore) -> None:
    await fill(store, COMFORTABLE)
    assert not (await ask(running)).HasField("come_back_after")
    await fill(store, 1)

    async def paced() -> bool:
        return (await ask(running)).HasField("come_back_after")

    await eventually(paced, what="agents are asked to pause")
    waits = {(await ask(running)).come_back_after.ToTimedelta().total_seconds() for _ in range(20)}
    assert len(waits) > 15, "a fleet would come back in step"
    assert min(waits) >= UNKNOWN_SECONDS * SPREAD[0]
    assert max(waits) <= UNKNOWN_SECONDS * SPREAD[1]
    assert running.metric("alignfed_paced_answers_total", federation="fed") >= 20
    for _ in range(2):
        await publish(store, "fed")  # each merges one of them

    async def free() -> bool:
        return not (await ask(running)).HasField("come_back_after")

    await eventually(free, what="agents may go on")


async def test_an_upload_is_answered_with_the_pace_too(
    running: Running, store: WatchedStore, plan: FederationPlan, base: VersionId
) -> None:
    await fill(store, COMFORTABLE + 1)
    response = await running.client.submit(WireDelta.of(plan, base).messages())
    assert response.pace.HasField("come_back_after")


async def test_polls_do_not_read_the_queue(running: Running, store: WatchedStore) -> None:
    await polled(running)
    store.held["deltas.depth"] = store.hold("deltas.waiting_of")  # the background task may wait for ever
    for _ in range(20):
        await polled(running)


async def test_a_delta_that_will_be_too_old_at_its_turn_is_not_wanted(
    running: Running, store: WatchedStore, plan: FederationPlan, base: VersionId
) -> None:
    for _ in range(3):
        await publish(store, "fed")  # the head is 3, and version 0 is still kept
    stale = WireDelta.of(plan, base)
    asked = await running.client.query(stale, base_version=version_id(base))
    assert asked.resume_offset == 0
    assert (await polled(running)).oldest_wanted_number == 0
    await fill(store, 4)  # two merges, and it is not any more

    async def outdated() -> bool:
        return (await polled(running)).oldest_wanted_number == 2

    await eventually(outdated, what="it is told that version 1 is forgotten too soon")
    refusal = await refused(running.client.query(stale, base_version=version_id(base)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BASE_VERSION_TOO_OLD")
    averted = {"federation": "fed", "reason": "BASE_VERSION_TOO_OLD"}
    assert running.metric("alignfed_uploads_averted_total", **averted) == 1
    # Who does not ask is not refused for a guess: its base version is still kept.
    await running.client.submit(stale.messages())
    assert (await running.client.query(stale, base_version=version_id(base))).HasField("receipt")


async def test_a_delta_of_another_branch_is_not_wanted(
    running: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    abandoned = await publish(store, "fed")
    await store.versions.roll_back("fed", 0, at=1.0)
    delta = WireDelta.of(plan, abandoned.id)
    refusal = await refused(running.client.query(delta, base_version=version_id(abandoned.id)))
    assert refusal.reason == "BASE_VERSION_OTHER_BRANCH"
