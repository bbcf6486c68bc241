"""Shutting callers out: in force at once, in mid-call, and in every coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from coordinator.domain import VersionId
from tests.service.conftest import Running, Start
from tests.service.identity.conftest import Connect
from tests.service.identity.test_who_may_call import _poll
from tests.support.identities import Deployment
from tests.support.raw_client import RawClient, WireDelta, refused
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

SECONDS = 2.0
"""What "at once" means here: the announcement passes through the store and one loop."""


def slowly(messages: list[pb.SubmitDeltaRequest], gate: asyncio.Event, loop: Any) -> Iterator[pb.SubmitDeltaRequest]:
    """Yield an upload's header and first chunk, and the rest once the gate is open: on gRPC's thread."""
    yield from messages[:2]
    asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(timeout=20)
    yield from messages[2:]


async def open_calls(client: RawClient, delta: WireDelta, gate: asyncio.Event) -> list[asyncio.Task[Any]]:
    """Begin a watch, a long poll and an upload of one agent."""

    async def watch() -> Any:
        request = pb.WatchGlobalVersionsRequest(federation="fed", agent_id=delta.agent_id)
        async for _ in client.agents.WatchGlobalVersions(request, timeout=30):
            pass

    poll = pb.GetGlobalVersionRequest(
        federation="fed", agent_id=delta.agent_id, after_number=0, max_wait=Duration(seconds=30)
    )
    upload = client.submit(slowly(delta.messages(), gate, asyncio.get_running_loop()))
    calls: list[Awaitable[Any]] = [watch(), client.agents.GetGlobalVersion(poll, timeout=30), upload]
    return [asyncio.ensure_future(call) for call in calls]


async def until_running(coordinator: Running, calls: int) -> None:
    async def running() -> bool:
        return len(coordinator.server._assembly.gate._calls) >= calls

    await eventually(running, what=f"{calls} calls run")


async def until_refused(call: Callable[[], Awaitable[Any]], *, what: str, timeout_seconds: float = 20.0) -> None:
    async def refused_now() -> bool:
        try:
            await call()
        except grpc.RpcError:
            return True
        return False

    await eventually(refused_now, what=what, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("in_one_federation", [False, True])
async def test_calls_in_progress_end_at_once_and_others_go_on(
    in_one_federation: bool,
    secure: Running,
    connect: Connect,
    deployment: Deployment,
    delta: WireDelta,
    plan: FederationPlan,
    base: VersionId,
    store: WatchedStore,
) -> None:
    gate = asyncio.Event()
    revoked = await open_calls(connect(deployment.agent("agent-1")), delta, gate)
    others = await open_calls(connect(deployment.agent("agent-2")), WireDelta.of(plan, base, agent_id="agent-2"), gate)
    await until_running(secure, 6)
    admin = connect(None, deployment.operator()).operators
    if in_one_federation:
        await admin.RevokeAgent(op.RevokeAgentRequest(federation="fed", agent_id="agent-1"), timeout=10)
    else:
        answer = await admin.RevokeIdentity(op.RevokeIdentityRequest(principal="agent:agent-1"), timeout=10)
        assert list(answer.federations) == ["fed"]
    async with asyncio.timeout(SECONDS):
        reasons = {(await refused(call)).reason for call in revoked}
    assert reasons <= {"AGENT_REVOKED", "IDENTITY_REVOKED"}
    assert not any(call.done() for call in others)
    gate.set()
    assert (await others[2]).receipt.delta_id
    for call in others[:2]:
        call.cancel()
    (queued,) = await store.deltas.claim("fed", "worker", limit=10)
    assert queued.delta.agent_id == "agent-2", "what was cut is not accepted"


async def test_a_revocation_made_through_one_coordinator_holds_in_the_others(
    secure: Running, start: Start, connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    other = await start(**deployment.settings())
    client = connect(deployment.agent("agent-1"), agent_port=other.server.agent_port)
    assert await _poll(client, delta)
    admin = connect(None, deployment.operator()).operators
    await admin.RevokeIdentity(op.RevokeIdentityRequest(principal="agent:agent-1"), timeout=10)

    await until_refused(
        lambda: _poll(client, delta), what="the other coordinator refuses the agent", timeout_seconds=SECONDS
    )


async def test_a_revocation_holds_when_its_announcement_is_lost(
    start: Start, connect: Connect, deployment: Deployment, delta: WireDelta, store: WatchedStore
) -> None:
    running = await start(**deployment.settings(head_reread_seconds=0.1))
    client = connect(deployment.agent("agent-1"), agent_port=running.server.agent_port)
    assert await _poll(client, delta)
    store.muted = True
    await store.identities.revoke("agent:agent-1")

    await until_refused(lambda: _poll(client, delta), what="the revocation is read without having been heard of")


async def test_revocations_known_hold_while_the_store_is_away(
    start: Start, connect: Connect, deployment: Deployment, delta: WireDelta, store: WatchedStore
) -> None:
    await store.identities.revoke("agent:agent-2")
    running = await start(**deployment.settings())

    async def known() -> bool:
        return "agent:agent-2" in running.server._assembly.revocations._principals

    await eventually(known, what="the revocation is read")
    store.go_away()
    client = connect(deployment.agent("agent-2"), agent_port=running.server.agent_port)
    refusal = await refused(_poll(client, WireDelta.of(delta.plan, delta.base, agent_id="agent-2")))
    assert refusal.reason == "IDENTITY_REVOKED"


async def test_a_revoked_operator_is_shut_out_and_cannot_shut_itself_out(
    connect: Connect, deployment: Deployment, secure: Running
) -> None:
    del secure
    olga = connect(None, deployment.operator("olga")).operators
    otto = connect(None, deployment.operator("otto")).operators
    own = await refused(olga.RevokeIdentity(op.RevokeIdentityRequest(principal="operator:olga"), timeout=10))
    assert own.reason == "REQUEST_INVALID"
    await olga.RevokeIdentity(op.RevokeIdentityRequest(principal="operator:otto"), timeout=10)

    await until_refused(
        lambda: otto.ListFederations(op.ListFederationsRequest(), timeout=10),
        what="the other admin is refused",
        timeout_seconds=SECONDS,
    )


@pytest.mark.parametrize("principal", ["", "agent:", "agent:a b", "key:" + "a" * 64, "agent:a\nb", "worker:x"])
async def test_a_malformed_principal_is_refused(principal: str, connect: Connect, deployment: Deployment) -> None:
    admin = connect(None, deployment.operator()).operators
    refusal = await refused(admin.RevokeIdentity(op.RevokeIdentityRequest(principal=principal), timeout=10))
    assert refusal.reason == "REQUEST_INVALID"


async def test_without_identities_a_revoked_agents_calls_end_too(
    coordinator: Running, delta: WireDelta, store: WatchedStore
) -> None:
    gate = asyncio.Event()
    calls = await open_calls(coordinator.client, delta, gate)
    await until_running(coordinator, 3)
    await store.agents.revoke("fed", "agent-1")
    async with asyncio.timeout(SECONDS):
        assert {(await refused(call)).reason for call in calls} == {"AGENT_REVOKED"}
    gate.set()
