"""Polls and watches: answered from memory at once, woken by a commit, however many there are, store or no store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from alignfed.errors import StoreCorrupt
from alignfed.plan import FederationPlan
from alignfed.plan_proto import plan_from_proto
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1 import types_pb2
from tests.service.conftest import Running, Start
from tests.support.raw_client import refused
from tests.support.stores import new_agent, publish
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

READS = ("versions.head", "versions.get", "federations.get", "agents.get", "agents.seen")


async def poll(running: Running, *, wait_seconds: int | None = None, **fields: Any) -> pb.GetGlobalVersionResponse:
    fields = {"federation": "fed", "agent_id": "agent-1"} | fields
    wait = None if wait_seconds is None else Duration(seconds=wait_seconds)
    request = pb.GetGlobalVersionRequest(max_wait=wait, **fields)
    response: pb.GetGlobalVersionResponse = await running.client.agents.GetGlobalVersion(request, timeout=20)
    return response


async def test_a_poll_is_answered_at_once(coordinator: Running, plan: FederationPlan, store: WatchedStore) -> None:
    for fields in ({}, {"after_number": 0}, {"after_number": 99}, {"wait_seconds": 20}):
        status = (await poll(coordinator, **fields)).status
        assert (status.head.number, status.oldest_retained_number, status.paused) == (0, 0, False)
        assert status.head.digest == (await store.versions.head("fed")).id.digest


async def test_polls_never_read_the_store(start: Start, plan: FederationPlan, store: WatchedStore) -> None:
    running = await start(head_reread_seconds=60.0, liveness_flush_seconds=60.0)
    await poll(running)
    assert [store.calls[name] for name in READS] == [1, 0, 1, 1, 0]
    store.calls.clear()
    await asyncio.gather(*(poll(running, after_number=0) for _ in range(300)))
    assert not store.calls


async def test_a_fleet_that_connects_at_once_causes_one_read_of_plan_and_head(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=60.0)
    fleet = [f"fleet-{number}" for number in range(20)]
    for agent_id in fleet:
        await store.agents.register("fed", new_agent(agent_id))
    gate = store.hold("versions.head")
    polls = [asyncio.ensure_future(poll(running, agent_id=agent_id)) for agent_id in fleet]

    async def all_arrived() -> bool:
        return store.calls["agents.get"] == 20

    await eventually(all_arrived, what="every poll has arrived")
    gate.set()
    await asyncio.gather(*polls)
    assert (store.calls["versions.head"], store.calls["federations.get"]) == (1, 1)


async def test_a_long_poll_is_woken_by_a_commit_without_reads_of_its_own(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=60.0, liveness_flush_seconds=60.0)
    await poll(running)
    waiting = [asyncio.ensure_future(poll(running, after_number=0, wait_seconds=15)) for _ in range(50)]

    async def all_wait() -> bool:
        return running.server._assembly.heads.waiting == 50

    await eventually(all_wait, what="every poll waits")
    store.calls.clear()
    started = time.monotonic()
    await publish(store, "fed")
    answers = await asyncio.gather(*waiting)
    assert time.monotonic() - started < 5
    assert {it.status.head.number for it in answers} == {1}
    # `publish` itself reads the head twice; the announcement makes the coordinator read it once, not once per poll
    assert store.calls["versions.head"] <= 3


async def test_a_long_poll_that_sees_nothing_new_ends_with_the_head(coordinator: Running, plan: FederationPlan) -> None:
    started = time.monotonic()
    answer = await poll(coordinator, after_number=0, wait_seconds=1)
    assert answer.status.head.number == 0
    assert 0.9 < time.monotonic() - started < 5


async def test_a_long_poll_answers_before_its_clients_deadline(coordinator: Running, plan: FederationPlan) -> None:
    request = pb.GetGlobalVersionRequest(
        federation="fed", agent_id="agent-1", after_number=0, max_wait=Duration(seconds=60)
    )
    answer = await coordinator.client.agents.GetGlobalVersion(request, timeout=1.0)
    assert answer.status.head.number == 0


@pytest.mark.parametrize("wait", [Duration(seconds=-5), Duration(seconds=2**62), Duration(nanos=-1)])
async def test_absurd_waits_are_bounded(start: Start, plan: FederationPlan, wait: Duration) -> None:
    running = await start(max_poll_wait_seconds=0.2)
    request = pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1", after_number=0, max_wait=wait)
    assert (await running.client.agents.GetGlobalVersion(request, timeout=10)).status.head.number == 0


async def test_strangers_are_refused(coordinator: Running, plan: FederationPlan, store: WatchedStore) -> None:
    assert (await refused(poll(coordinator, federation="nowhere"))).reason == "FEDERATION_UNKNOWN"
    assert (await refused(poll(coordinator, agent_id="stranger"))).reason == "AGENT_UNKNOWN"
    watch = coordinator.client.agents.WatchGlobalVersions(
        pb.WatchGlobalVersionsRequest(federation="fed", agent_id="stranger"), timeout=10
    )
    assert (await refused(watch.read())).reason == "AGENT_UNKNOWN"
    store.calls.clear()
    for _ in range(50):
        await refused(poll(coordinator, federation="nowhere"))
    assert store.calls["federations.get"] <= 1  # guessing names costs no reads


async def test_a_revocation_reaches_polls_at_once_here_and_soon_elsewhere(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    here, elsewhere = await start(), await start(agent_record_seconds=0.2)
    await poll(here)
    await poll(elsewhere)
    await here.client.operators.RevokeAgent(op.RevokeAgentRequest(federation="fed", agent_id="agent-1"))
    refusal = await refused(poll(here))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "AGENT_REVOKED")

    async def refused_elsewhere() -> bool:
        try:
            await poll(elsewhere)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.PERMISSION_DENIED
        return False

    await eventually(refused_elsewhere, what="the other coordinator refuses the agent", timeout_seconds=5)


async def test_a_watch_sends_the_head_then_every_new_one(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=60.0)
    watch = running.client.agents.WatchGlobalVersions(
        pb.WatchGlobalVersionsRequest(federation="fed", agent_id="agent-1")
    )
    assert (await watch.read()).status.head.number == 0
    for number in (1, 2):
        await publish(store, "fed")
        assert (await watch.read()).status.head.number == number
    await store.federations.set_paused("fed", True)
    assert (await watch.read()).status.paused
    watch.cancel()


async def test_a_slow_watcher_gets_the_newest_head_not_every_one(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=60.0)
    watch = running.client.agents.WatchGlobalVersions(
        pb.WatchGlobalVersionsRequest(federation="fed", agent_id="agent-1")
    )
    assert (await watch.read()).status.head.number == 0
    store.muted = True
    for _ in range(5):
        await publish(store, "fed")
    store.muted = False
    await store.federations.set_paused("fed", False)  # announces once
    assert (await watch.read()).status.head.number == 5
    watch.cancel()


async def test_a_missed_announcement_is_made_good(start: Start, plan: FederationPlan, store: WatchedStore) -> None:
    running = await start(head_reread_seconds=0.1)
    await poll(running)
    store.muted = True
    waiting = asyncio.ensure_future(poll(running, after_number=0, wait_seconds=15))
    await publish(store, "fed")
    assert (await waiting).status.head.number == 1


async def test_polls_go_on_while_the_store_is_away_and_hear_of_new_heads_afterwards(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=0.1, agent_record_seconds=0.1)
    await poll(running)
    waiting = asyncio.ensure_future(poll(running, after_number=0, wait_seconds=15))

    async def subscribed() -> bool:
        return store.open_feeds == 1

    await eventually(subscribed, what="the coordinator listens")
    store.go_away()

    async def feed_broken() -> bool:
        return store.open_feeds == 0

    await eventually(feed_broken, what="the feed is broken")
    store.calls.clear()

    async def answered_although_the_agents_record_expired() -> bool:
        assert (await poll(running, after_number=0)).status.head.number == 0
        return store.calls["agents.get"] >= 2 and store.calls["versions.head"] >= 2

    await eventually(answered_although_the_agents_record_expired, what="polls are answered from memory")
    assert not waiting.done()
    store.come_back()
    await eventually(subscribed, what="the coordinator listens again")
    await publish(store, "fed")
    assert (await waiting).status.head.number == 1


async def test_a_head_that_cannot_be_read_does_not_end_the_listening(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(head_reread_seconds=60.0)
    await poll(running)
    waiting = asyncio.ensure_future(poll(running, after_number=0, wait_seconds=15))

    async def listening() -> bool:
        return store.open_feeds == 1 and running.server._assembly.heads.waiting == 1

    await eventually(listening, what="the coordinator listens and the poll waits")
    store.failures["versions.head"] = StoreCorrupt("half a record")
    reads = store.calls["versions.head"]
    await store.federations.set_paused("fed", True)

    async def tried() -> bool:
        return store.calls["versions.head"] > reads

    await eventually(tried, what="the announced head was asked for")
    del store.failures["versions.head"]
    await publish(store, "fed")
    assert (await waiting).status.head.number == 1
    assert store.calls["feed.subscribe"] == 1


async def test_last_seen_times_are_written_in_batches(start: Start, plan: FederationPlan, store: WatchedStore) -> None:
    running = await start(liveness_flush_seconds=0.1)
    before = (await store.agents.get("fed", "agent-1")).last_seen_at
    await asyncio.gather(*(poll(running) for _ in range(100)))

    async def written() -> bool:
        return (await store.agents.get("fed", "agent-1")).last_seen_at > before

    await eventually(written, what="the agent's last-seen time is written")
    assert store.calls["agents.seen"] <= 5


async def test_last_seen_times_survive_an_outage_of_the_store(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    running = await start(liveness_flush_seconds=0.05)
    await poll(running)
    store.go_away()
    await poll(running)
    asked = store.calls["agents.seen"]

    async def tried() -> bool:
        return store.calls["agents.seen"] > asked

    await eventually(tried, what="a batch was refused")
    before = time.time()
    store.come_back()

    async def written() -> bool:
        return before - 60 < (await store.agents.get("fed", "agent-1")).last_seen_at <= before

    await eventually(written, what="the batch is written after all")


async def test_registration_answers_with_the_plan(
    coordinator: Running, plan: FederationPlan, store: WatchedStore
) -> None:
    request = pb.RegisterAgentRequest(
        federation="fed",
        agent_id="new-agent",
        capabilities=types_pb2.AgentCapabilities(device="cuda", memory_bytes=8, tier="fast", examples=5),
    )
    for _ in range(2):  # idempotent
        response = await coordinator.client.agents.RegisterAgent(request, timeout=10)
        assert plan_from_proto(response.plan) == plan
        assert response.status.head.number == 0
    record = await store.agents.get("fed", "new-agent")
    assert (record.device, record.memory_bytes, record.tier, record.examples) == ("cuda", 8, "fast", 5)
    assert (await poll(coordinator, agent_id="new-agent")).status.head.number == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"federation": "nowhere"}, "FEDERATION_UNKNOWN"),
        ({"agent_id": ""}, "REQUEST_INVALID"),
        ({"agent_id": "a" * 65}, "REQUEST_INVALID"),
        ({"agent_id": "no spaces"}, "REQUEST_INVALID"),
        ({"capabilities": {"tier": "x" * 65}}, "REQUEST_INVALID"),
        ({"capabilities": {"device": "a\nb"}}, "REQUEST_INVALID"),
        ({"capabilities": {"examples": 2**60}}, "REQUEST_INVALID"),
    ],
)
async def test_a_registration_out_of_range_is_refused(
    fields: dict[str, Any], reason: str, coordinator: Running, plan: FederationPlan, store: WatchedStore
) -> None:
    request = pb.RegisterAgentRequest(**({"federation": "fed", "agent_id": "new-agent"} | fields))
    assert (await refused(coordinator.client.agents.RegisterAgent(request, timeout=10))).reason == reason
    assert store.calls["agents.register"] == 2  # the fixture's


async def test_a_revoked_agent_cannot_register_again(
    coordinator: Running, plan: FederationPlan, store: WatchedStore
) -> None:
    await store.agents.revoke("fed", "agent-1")
    request = pb.RegisterAgentRequest(federation="fed", agent_id="agent-1")
    refusal = await refused(coordinator.client.agents.RegisterAgent(request, timeout=10))
    assert refusal.reason == "AGENT_REVOKED"
    assert (await refused(poll(coordinator))).reason == "AGENT_REVOKED"
