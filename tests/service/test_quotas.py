"""Nobody fills the store for everybody: shares per agent and in all, asked before a byte of payload is taken."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest

from alignfed.plan import Buffer, FederationPlan
from alignfed.v1 import types_pb2 as pb
from coordinator.domain import VersionId
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, Refusal, WireDelta, refused, version_id, wire_plan
from tests.support.stores import publish, seed_federation
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

PLACES = 12
"""Deltas that may wait in the federation of these tests; one merge takes two."""


@pytest.fixture
async def plan(store: WatchedStore) -> FederationPlan:
    plan = dataclasses.replace(wire_plan(max_queue_deltas=PLACES), buffer=Buffer(size=2))
    return await seed_federation(store, plan, agents=[f"agent-{number}" for number in range(1, PLACES + 1)])


class Sender:
    """Sends deltas of the federation to one coordinator."""

    def __init__(self, running: Running, plan: FederationPlan, base: VersionId) -> None:
        self.running = running
        self.plan = plan
        self.base = base

    def delta(self, agent_id: str = "agent-1") -> WireDelta:
        return WireDelta.of(self.plan, self.base, agent_id=agent_id)

    async def send(self, agent_id: str = "agent-1") -> None:
        await self.running.client.submit(self.delta(agent_id).messages())

    async def send_all(self, agent_id: str) -> tuple[int, Refusal]:
        """Send deltas of one agent, each with an id of its own, until one is refused."""
        for sent in range(PLACES + 1):
            delta = self.delta(agent_id)
            try:
                await self.running.client.submit(delta.messages())
            except grpc.RpcError:
                return sent, await refused(self.running.client.submit(delta.messages()))
        raise AssertionError("nothing bounds what an agent may send")

    async def leave_unfinished(self, agent_id: str) -> WireDelta:
        """Upload one chunk and go away."""
        delta = self.delta(agent_id)
        call: Any = self.running.client.agents.SubmitDelta(timeout=20)
        for message in delta.messages()[:2]:
            await call.write(message)

        async def stored() -> bool:
            return (await self.running.client.query(delta)).resume_offset == CHUNK_BYTES

        await eventually(stored, what="the chunk is stored")
        call.cancel()
        return delta


@pytest.fixture
def sender(coordinator: Running, plan: FederationPlan, base: VersionId) -> Sender:
    return Sender(coordinator, plan, base)


async def test_a_greedy_agent_leaves_room_for_everybody_else(sender: Sender) -> None:
    sent, refusal = await sender.send_all("agent-1")
    assert sent == PLACES // 2
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "AGENT_OVER_QUOTA")
    assert refusal.retry_seconds
    assert sender.running.metric("alignfed_uploads_total", federation="fed", outcome="agent_over_quota") == 2
    for number in range(2, 2 + PLACES - sent):
        await sender.send(f"agent-{number}")
    refusal = await refused(sender.running.client.submit(sender.delta("agent-12").messages()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")


async def test_a_lone_agent_can_fill_a_merge(start: Start, sender: Sender) -> None:
    strict = Sender(await start(max_agent_deltas=1), sender.plan, sender.base)
    assert (await strict.send_all("agent-1"))[0] == sender.plan.buffer.size


@pytest.mark.parametrize("setting", ["max_agent_deltas", "max_agent_bytes"])
async def test_an_agents_share_has_a_bound_in_deltas_and_in_bytes(setting: str, start: Start, sender: Sender) -> None:
    most = 3 if setting == "max_agent_deltas" else 3 * len(sender.delta().payload)
    strict = Sender(await start(**{setting: most}), sender.plan, sender.base)
    assert (await strict.send_all("agent-1"))[0] == 3


async def test_all_agents_together_have_a_bound_in_bytes(start: Start, sender: Sender) -> None:
    strict = Sender(await start(max_federation_bytes=4 * len(sender.delta().payload)), sender.plan, sender.base)
    for number in range(1, 5):
        await strict.send(f"agent-{number}")
    assert (await refused(strict.running.client.submit(strict.delta("agent-5").messages()))).reason == "QUEUE_FULL"


async def test_shares_hold_over_all_coordinators_together(start: Start, sender: Sender) -> None:
    other = Sender(await start(), sender.plan, sender.base)
    for turn in range(PLACES // 2):
        await (sender, other)[turn % 2].send("agent-1")
    for one in (sender, other):
        assert (await refused(one.running.client.submit(one.delta("agent-1").messages()))).reason == "AGENT_OVER_QUOTA"


async def test_what_is_merged_makes_room(sender: Sender, store: WatchedStore) -> None:
    await sender.send_all("agent-1")
    await publish(store, sender.plan.federation)
    await sender.send("agent-1")


async def test_unfinished_uploads_count_and_can_still_be_finished(start: Start, sender: Sender) -> None:
    strict = Sender(await start(max_agent_deltas=2), sender.plan, sender.base)
    begun = [await strict.leave_unfinished("agent-1") for _ in range(2)]
    for one in (strict, Sender(await start(max_agent_deltas=2), sender.plan, sender.base)):
        refusal = await refused(one.running.client.submit(one.delta("agent-1").messages()))
        assert refusal.reason == "AGENT_OVER_QUOTA", "an id of its own does not make another agent"
    await strict.send("agent-2")
    for delta in begun:
        response = await strict.running.client.submit(delta.messages(CHUNK_BYTES))
        assert response.receipt.state == pb.DELTA_STATE_QUEUED


async def test_who_asks_before_it_uploads_is_told_without_sending_a_byte(sender: Sender, store: WatchedStore) -> None:
    await sender.send_all("agent-1")
    client, delta = sender.running.client, sender.delta("agent-1")
    assert (await client.query(delta)).resume_offset == 0, "who only asks is answered"
    store.calls.clear()
    refusal = await refused(client.query(delta, base_version=version_id(sender.base)))
    assert refusal.reason == "AGENT_OVER_QUOTA"
    assert refusal.retry_seconds
    assert store.calls["blobs.begin"] == 0
    averted = {"federation": "fed", "reason": "AGENT_OVER_QUOTA"}
    assert sender.running.metric("alignfed_uploads_averted_total", **averted) == 1


async def test_who_begins_uploads_by_the_thousand_does_not_cause_a_scan_each(
    sender: Sender, store: WatchedStore
) -> None:
    for _ in range(PLACES // 2):
        await sender.send("agent-1")
    store.calls.clear()
    for _ in range(100):
        await refused(sender.running.client.query(sender.delta("agent-1"), base_version=version_id(sender.base)))
    assert store.calls["deltas.waiting_of"] >= 100
    assert store.calls["blobs.unclaimed"] <= 20
