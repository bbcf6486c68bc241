"""What an operator sees: figures move with what happens, and no agent ever becomes a label."""

from __future__ import annotations

import json
import logging

import grpc
import pytest
from prometheus_client import generate_latest

from alignfed.logs.formats import JsonFormatter
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from tests.service.conftest import Running
from tests.support.raw_client import WireDelta, refused
from tests.support.stores import publish
from tests.support.watched_store import WatchedStore


async def test_rpcs_are_timed_by_method_and_code(coordinator: Running, plan: FederationPlan) -> None:
    agents = coordinator.client.agents
    await agents.GetGlobalVersion(pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1"))
    await refused(agents.GetGlobalVersion(pb.GetGlobalVersionRequest(federation="nowhere")))
    with pytest.raises(grpc.aio.AioRpcError):
        await coordinator.client.channel.unary_unary("/alignfed.v1.AgentService/MadeUp")(b"")

    def count(method: str, code: str) -> float:
        return coordinator.metric("alignfed_rpc_server_duration_seconds_count", method=method, code=code)

    assert count("GetGlobalVersion", "OK") == 1
    assert count("GetGlobalVersion", "NOT_FOUND") == 1
    assert b"MadeUp" not in generate_latest(coordinator.registry)


async def test_uploads_are_counted_by_outcome_and_traffic(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    await publish(store, "fed")
    await publish(store, "fed")
    await coordinator.client.submit(delta.messages())
    await coordinator.client.submit(delta.messages())
    another = WireDelta.of(delta.plan, delta.base)
    await refused(coordinator.client.submit([another.header(rank=9)]))

    def outcome(name: str) -> float:
        return coordinator.metric("alignfed_uploads_total", federation="fed", outcome=name)

    assert (outcome("accepted"), outcome("duplicate"), outcome("rejected_rank_mismatch")) == (1, 1, 1)
    assert coordinator.metric("alignfed_upload_bytes_total", federation="fed") == len(delta.payload)
    assert coordinator.metric("alignfed_uploads_in_progress") == 0
    stale = "alignfed_delta_staleness_versions"
    assert coordinator.metric(f"{stale}_sum", federation="fed", stage="accept") == 2
    assert coordinator.metric(f"{stale}_bucket", federation="fed", stage="accept", le="1.0") == 0
    assert coordinator.metric(f"{stale}_bucket", federation="fed", stage="accept", le="2.0") == 1


async def test_a_poll_tells_how_far_an_agent_lags(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    for _ in range(3):
        await publish(store, "fed")
    for held in (None, 0, 3, 50):
        request = pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1", after_number=held)
        await coordinator.client.agents.GetGlobalVersion(request)
    assert coordinator.metric("alignfed_agent_version_lag_versions_count", federation="fed") == 3
    assert coordinator.metric("alignfed_agent_version_lag_versions_sum", federation="fed") == 3


async def test_labels_name_neither_agents_nor_what_clients_make_up(coordinator: Running, delta: WireDelta) -> None:
    await coordinator.client.submit(delta.messages())
    for number in range(5):
        await refused(coordinator.client.submit([delta.header(federation=f"made-up-{number}")]))
    shown = generate_latest(coordinator.registry).decode()
    assert "agent-1" not in shown
    assert "made-up" not in shown
    assert delta.delta_id not in shown
    unknown = {"federation": "", "outcome": "rejected_federation_unknown"}
    assert coordinator.metric("alignfed_uploads_total", **unknown) == 5


async def test_each_delta_leaves_one_line_with_its_ids(
    coordinator: Running, delta: WireDelta, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "x\nINFO delta accepted agent=victim"
    with caplog.at_level(logging.INFO, logger="coordinator.service"):
        await coordinator.client.submit(delta.messages())
        await refused(coordinator.client.submit([delta.header(rank=9, delta_id="first", agent_id=forged)]))
    accepted, refused_line = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert accepted["message"] == "delta accepted"
    assert (accepted["federation"], accepted["agent_id"], accepted["base_version"]) == ("fed", "agent-1", 0)
    assert accepted["delta_id"] == delta.delta_id
    assert refused_line["message"] == "delta not accepted"
    assert (refused_line["agent_id"], refused_line["delta_id"]) == ("malformed", "first")
    assert (refused_line["outcome"], refused_line["reason"]) == ("rejected_agent_unknown", "AGENT_UNKNOWN")
