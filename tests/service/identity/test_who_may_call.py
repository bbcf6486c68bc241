"""Who gets in, and as whom: the attacks on identity, each with its outcome."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from alignfed.errors import RequestInvalid
from alignfed.identity import Role
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1.operator_service_pb2_grpc import OperatorServiceStub
from coordinator.authority.folder import AGENTS, ROOT
from coordinator.domain import VersionId
from coordinator.service.identity.roles import ROLE_BY_METHOD
from coordinator.service.server import CoordinatorServer
from tests.service.conftest import CONFIG, Running, Start
from tests.service.identity.conftest import Connect
from tests.support.identities import Deployment
from tests.support.raw_client import RawClient, WireDelta, refused
from tests.support.stores import open_memory_store
from tests.support.watched_store import WatchedStore

AgentCall = Callable[[RawClient, WireDelta], Awaitable[Any]]


async def _watch(client: RawClient, delta: WireDelta) -> Any:
    request = pb.WatchGlobalVersionsRequest(federation=delta.plan.federation, agent_id=delta.agent_id)
    return await anext(aiter(client.agents.WatchGlobalVersions(request, timeout=10)))


async def _download(client: RawClient, delta: WireDelta) -> Any:
    request = pb.DownloadAdapterRequest(federation=delta.plan.federation, number=0)
    return await anext(aiter(client.agents.DownloadAdapter(request, timeout=10)))


def _register(client: RawClient, delta: WireDelta) -> Awaitable[Any]:
    request = pb.RegisterAgentRequest(federation=delta.plan.federation, agent_id=delta.agent_id)
    return client.agents.RegisterAgent(request, timeout=10)  # type: ignore[no-any-return]


def _poll(client: RawClient, delta: WireDelta) -> Awaitable[Any]:
    request = pb.GetGlobalVersionRequest(federation=delta.plan.federation, agent_id=delta.agent_id)
    return client.agents.GetGlobalVersion(request, timeout=10)  # type: ignore[no-any-return]


NAMED_CALLS: dict[str, AgentCall] = {
    "RegisterAgent": _register,
    "GetGlobalVersion": _poll,
    "WatchGlobalVersions": _watch,
    "QueryUpload": lambda client, delta: client.query(delta),
    "SubmitDelta": lambda client, delta: client.submit(delta.messages()),
}
"""Every call in which an agent says who it is."""
CALLS = NAMED_CALLS | {"DownloadAdapter": _download}


async def handshake_fails(call: Awaitable[Any]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", CALLS)
async def test_an_agent_that_was_let_in_is_served(
    name: str, connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    client = connect(deployment.agent("agent-1"))
    assert await CALLS[name](client, delta)


async def test_nobody_gets_in_without_a_certificate(connect: Connect, delta: WireDelta, secure: Running) -> None:
    await handshake_fails(_poll(connect(None), delta))
    plain = RawClient(agent_port=secure.server.agent_port, operator_port=secure.server.operator_port)
    await handshake_fails(_poll(plain, delta))
    await handshake_fails(plain.operators.ListFederations(op.ListFederationsRequest(), timeout=10))
    await plain.close()


async def test_nobody_gets_in_with_a_certificate_of_another_authority(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    await handshake_fails(_poll(connect(deployment.strangers_agent()), delta))


async def test_nobody_gets_in_with_an_expired_certificate(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    await handshake_fails(_poll(connect(deployment.agent("agent-1", life=-0.001)), delta))


async def test_a_connection_does_not_outlive_its_certificate(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    client = connect(deployment.agent("agent-1", life=1.0 / 86_400))
    assert await _poll(client, delta)
    await asyncio.sleep(1.1)
    refusal = await refused(_poll(client, delta))
    assert (refusal.reason, refusal.code) == ("IDENTITY_MISSING", grpc.StatusCode.UNAUTHENTICATED)
    assert "expired" in refusal.message


@pytest.mark.parametrize("name", NAMED_CALLS)
async def test_no_agent_speaks_for_another(
    name: str, connect: Connect, deployment: Deployment, delta: WireDelta, store: WatchedStore
) -> None:
    client = connect(deployment.agent("agent-2"))
    refusal = await refused(NAMED_CALLS[name](client, delta))
    assert (refusal.reason, refusal.code) == ("IDENTITY_MISMATCH", grpc.StatusCode.PERMISSION_DENIED)
    assert (await store.deltas.depth("fed")).queued == 0


@pytest.mark.parametrize("name", CALLS)
async def test_no_agent_takes_part_where_it_was_not_let_in(
    name: str, connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    client = connect(deployment.agent("agent-1", "another"))
    assert (await refused(CALLS[name](client, delta))).reason == "IDENTITY_MISMATCH"


async def test_a_certificate_for_every_federation_is_one(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    assert await _poll(connect(deployment.agent("agent-1", "*")), delta)


async def test_an_upload_whose_later_header_names_another_agent_stays_the_first_ones(
    connect: Connect, deployment: Deployment, delta: WireDelta, store: WatchedStore
) -> None:
    client = connect(deployment.agent("agent-1"))
    first, *chunks = delta.messages()
    refusal = await refused(client.submit([first, delta.header(agent_id="agent-2"), *chunks]))
    assert refusal.reason == "IDENTITY_MISMATCH"
    assert (await store.deltas.depth("fed")).queued == 0


async def test_an_operators_certificate_opens_no_agents_port_nor_an_agents_the_operators(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    client = connect(deployment.operator(), deployment.agent("agent-1"))
    await handshake_fails(_poll(client, delta))
    await handshake_fails(client.operators.ListFederations(op.ListFederationsRequest(), timeout=10))


async def test_an_authority_cannot_make_what_is_the_others(
    connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    """Whoever has the coordinator's key for letting agents in still makes no operator, and an agent is none."""
    forged = connect(deployment.operator(by=AGENTS), deployment.operator(by=AGENTS))
    await handshake_fails(forged.operators.ListFederations(op.ListFederationsRequest(), timeout=10))
    assert (await refused(_poll(forged, delta))).reason == "IDENTITY_MISSING"
    confused = connect(None, deployment.agent("agent-1", by=ROOT))
    refusal = await refused(confused.operators.ListFederations(op.ListFederationsRequest(), timeout=10))
    assert refusal.reason == "IDENTITY_MISSING"


async def test_the_agents_port_serves_no_operators_call(
    secure: Running, connect: Connect, deployment: Deployment
) -> None:
    client = connect(deployment.agent("agent-1"))
    with pytest.raises(grpc.RpcError) as raised:
        await OperatorServiceStub(client.channel).ListFederations(op.ListFederationsRequest(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_every_call_of_operators_has_a_role() -> None:
    methods = {method.name for method in op.DESCRIPTOR.services_by_name["OperatorService"].methods}
    assert set(ROLE_BY_METHOD) == methods


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_includes_what_it_says_and_no_more(role: Role, connect: Connect, deployment: Deployment) -> None:
    client = connect(None, deployment.operator(role=role))
    for name, due in ROLE_BY_METHOD.items():
        method = getattr(client.operators, name)
        request = getattr(op, f"{name}Request")()
        if name == "CreateFederation":
            call = client.create([])
        elif name == "ExportAdapter":
            call = anext(aiter(method(request, timeout=10)))
        else:
            call = method(request, timeout=10)
        try:
            await call
            reason = ""
        except grpc.RpcError as error:
            reason = (await refused(_raising(error))).reason
        assert (reason == "ROLE_INSUFFICIENT") is not role.includes(due), (name, reason)


async def test_the_log_says_which_operator_did_what(
    connect: Connect, deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = connect(None, deployment.operator("olga", Role.OPERATOR))
    await client.operators.ListFederations(op.ListFederationsRequest(), timeout=10)
    await client.operators.PauseFederation(op.PauseFederationRequest(federation="fed"), timeout=10)
    calls = [record.message for record in caplog.records if "operator call" in record.message]
    assert calls == ["operator call method=PauseFederation operator=olga"]


async def _raising(error: Exception) -> None:
    raise error


async def test_a_delta_cannot_be_sent_again_by_whoever_saw_it(
    connect: Connect, deployment: Deployment, delta: WireDelta, store: WatchedStore
) -> None:
    """Receipts bind a delta's id to its agent, its content and its federation."""
    owner, thief = connect(deployment.agent("agent-1")), connect(deployment.agent("agent-2"))
    first = await owner.submit(delta.messages())
    again = await owner.submit(delta.messages())
    assert again.receipt == first.receipt, "the same delta again is the same receipt, not another delta"
    stolen = dataclasses.replace(delta, agent_id="agent-2")
    assert (await refused(thief.submit(stolen.messages()))).reason == "DELTA_ID_CONFLICT"
    assert (await refused(thief.submit(delta.messages()))).reason == "IDENTITY_MISMATCH"
    other = dataclasses.replace(delta, payload=WireDelta.of(delta.plan, delta.base, seed=9).payload)
    assert (await refused(owner.submit(other.messages()))).reason == "DELTA_ID_CONFLICT"
    assert (await store.deltas.depth("fed")).queued == 1


async def test_a_replaced_certificate_is_served_without_a_restart(
    secure: Running, connect: Connect, deployment: Deployment, delta: WireDelta
) -> None:
    before = secure.metric("alignfed_tls_certificate_expiry_timestamp_seconds")
    assert before > time.time()
    deployment.files.renew_server(["127.0.0.1"], days=1.0)
    assert await _poll(connect(deployment.agent("agent-1")), delta)
    assert secure.metric("alignfed_tls_certificate_expiry_timestamp_seconds") < before


async def test_a_broken_certificate_file_keeps_the_last_one_in_service(
    secure: Running, connect: Connect, deployment: Deployment, delta: WireDelta, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.files.certificate("coordinator").write_text("half a file")
    assert await _poll(connect(deployment.agent("agent-1")), delta)
    assert "the last one stays" in caplog.text


@pytest.mark.parametrize("setting", ["agent_listen", "operator_listen"])
def test_without_identities_only_this_machine_is_listened_to(setting: str) -> None:
    config = dataclasses.replace(CONFIG, **{setting: "0.0.0.0:0"})
    with pytest.raises(RequestInvalid, match="alignfed ca init"):
        CoordinatorServer(open_memory_store(), config=config)


@pytest.mark.parametrize("left_out", ["tls_key_file", "agent_ca_file", "operator_ca_file"])
def test_identities_are_set_up_whole_or_not_at_all(left_out: str, deployment: Deployment) -> None:
    config = dataclasses.replace(CONFIG, **deployment.settings(**{left_out: ""}))
    with pytest.raises(RequestInvalid, match=left_out.replace("_", "-")):
        CoordinatorServer(open_memory_store(), config=config)


async def test_agents_have_rates_of_their_own(
    start: Start, connect: Connect, deployment: Deployment, plan: FederationPlan, base: VersionId
) -> None:
    bounded = await start(
        **deployment.settings(
            max_agent_requests_per_second=0.5, max_agent_deltas_per_hour=2, max_agent_bytes_per_hour=0
        )
    )
    first = connect(deployment.agent("agent-1"), agent_port=bounded.server.agent_port)
    second = connect(deployment.agent("agent-2"), agent_port=bounded.server.agent_port)
    for seed in range(2):
        await first.submit(WireDelta.of(plan, base, seed=seed).messages())
    refusal = await refused(first.submit(WireDelta.of(plan, base, seed=2).messages()))
    assert (refusal.reason, refusal.metadata["limit"]) == ("RATE_EXCEEDED", "deltas")
    assert refusal.retry_seconds
    assert await second.submit(WireDelta.of(plan, base, agent_id="agent-2").messages()), "others have theirs"
    third = WireDelta.of(plan, base, seed=3)
    reasons = []
    for _ in range(4):
        try:
            await _poll(first, third)
        except grpc.RpcError as error:
            reasons.append((await refused(_raising(error))).metadata["limit"])
    assert "requests" in reasons


async def test_bytes_are_counted_both_ways(
    start: Start, connect: Connect, deployment: Deployment, plan: FederationPlan, base: VersionId
) -> None:
    delta = WireDelta.of(plan, base)
    bounded = await start(**deployment.settings(max_agent_bytes_per_hour=2.1 * len(delta.payload)))
    client = connect(deployment.agent("agent-1"), agent_port=bounded.server.agent_port)
    await client.submit(delta.messages())
    await client.submit(WireDelta.of(plan, base, seed=1).messages())
    for call in (client.submit(WireDelta.of(plan, base, seed=2).messages()), _download(client, delta)):
        assert (await refused(call)).metadata["limit"] == "bytes"
