"""The client against a real coordinator: waiting, stopping, encryption, and addresses that are not what they seem."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest

from alignfed.errors import (
    AgentRevoked,
    CoordinatorUnreachable,
    HeaderInvalid,
    IdentityMismatch,
    RequestInvalid,
    UnknownAgent,
    VersionNotFound,
)
from alignfed.plan import FederationPlan
from edge_agent.domain import Capabilities, ResumeAt, TlsFiles
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.download import AdapterDownload
from tests.support.identities import Deployment
from tests.support.live_coordinator import LiveCoordinator
from tests.support.prepared_deltas import prepared
from tests.support.tiny_federation import fresh_adapter
from tests.support.waiting import wait_until


def client_of(coordinator: LiveCoordinator, plan: FederationPlan, *, agent_id: str = "agent-1") -> CoordinatorClient:
    return CoordinatorClient(coordinator.address, federation=plan.federation, agent_id=agent_id)


def test_registering_brings_the_plan_and_the_head(coordinator: LiveCoordinator, plan: FederationPlan) -> None:
    with client_of(coordinator, plan) as client:
        registration = client.register(Capabilities(device="cpu"))
        assert registration.plan == plan
        head = coordinator.head(plan.federation)
        assert dataclasses.asdict(registration.status.head) == dataclasses.asdict(head)
        assert registration.status == client.global_version()


def test_a_long_poll_answers_as_soon_as_there_is_a_newer_version(
    coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    with client_of(coordinator, plan) as client:
        client.register(Capabilities())
        publish = threading.Timer(0.2, lambda: coordinator.publish(plan, fresh_adapter(plan, seed=1)))
        publish.start()
        began = time.monotonic()
        assert client.global_version(after=0, wait_seconds=30).head.number == 1
        assert time.monotonic() - began < 15
        publish.join()
        assert client.global_version(after=1, wait_seconds=0.1).head.number == 1


def test_cancelling_breaks_off_a_call_in_progress_and_refuses_new_ones(
    coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    with client_of(coordinator, plan) as client:
        client.register(Capabilities())
        ended: list[BaseException] = []

        def poll() -> None:
            try:
                client.global_version(after=0, wait_seconds=50)
            except CoordinatorUnreachable as error:
                ended.append(error)

        polling = threading.Thread(target=poll)
        polling.start()
        client.cancel()
        polling.join(timeout=10)
        assert len(ended) == 1
        with pytest.raises(CoordinatorUnreachable):
            client.global_version()


def test_errors_of_the_coordinator_arrive_as_themselves(coordinator: LiveCoordinator, plan: FederationPlan) -> None:
    delta = prepared().meta
    with client_of(coordinator, plan, agent_id="stranger") as stranger:
        with pytest.raises(UnknownAgent):
            stranger.query_upload(delta.delta_id, delta.sha256)
        stranger.register(Capabilities())
        assert stranger.query_upload(delta.delta_id, delta.sha256) == ResumeAt(offset=0)
        with pytest.raises(HeaderInvalid):
            stranger.query_upload("not-a-uuid", delta.sha256)
        ahead = dataclasses.replace(stranger.global_version().head, number=99)
        with pytest.raises(VersionNotFound):
            stranger.download(AdapterDownload(ahead, plan))
        coordinator.revoke(plan.federation, "stranger")
        with pytest.raises(AgentRevoked):
            stranger.register(Capabilities())


def test_the_operators_address_is_recognised_as_the_wrong_one(
    coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    address = f"127.0.0.1:{coordinator.operator_port}"
    with (
        CoordinatorClient(address, federation=plan.federation, agent_id="agent-1") as client,
        pytest.raises(RequestInvalid, match="--coordinator"),
    ):
        client.register(Capabilities())


def test_nobody_at_the_address_is_told_apart_from_a_refusal(coordinator: LiveCoordinator, plan: FederationPlan) -> None:
    coordinator.stop()
    with client_of(coordinator, plan) as client, pytest.raises(CoordinatorUnreachable) as caught:
        client.register(Capabilities())
    assert coordinator.address in caught.value.message


def test_a_remote_address_in_plain_text_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    CoordinatorClient("192.0.2.1:7300", federation="fed", agent_id="a").close()  # an address reserved for examples
    assert "not encrypted" in caplog.text
    caplog.clear()
    for local in ("127.0.0.1:7300", "localhost:7300", "[::1]:7300"):
        CoordinatorClient(local, federation="fed", agent_id="a").close()
    assert caplog.text == ""


def test_an_encrypted_connection_needs_the_right_authority_and_proves_the_agent(
    coordinator: LiveCoordinator, plan: FederationPlan, tmp_path: Path
) -> None:
    deployment, other = Deployment(tmp_path / "ours"), Deployment(tmp_path / "others")
    coordinator.stop()
    coordinator.start(**deployment.settings())
    address = f"localhost:{coordinator.port}"

    def register(tls: TlsFiles | None) -> str:
        with CoordinatorClient(address, federation=plan.federation, agent_id="agent-1", tls=tls) as client:
            return client.register(Capabilities()).plan.federation

    own = deployment.tls_files(deployment.agent("agent-1", plan.federation), tmp_path / "agent-1")
    wait_until(lambda: register(own) == plan.federation, what="the encrypted coordinator answers")
    strangers = deployment.tls_files(other.agent("agent-1", plan.federation), tmp_path / "strange")
    distrusting = dataclasses.replace(own, ca=other.files.root_certificate)
    for wrong in (None, TlsFiles(ca=own.ca), strangers, distrusting):
        with pytest.raises(CoordinatorUnreachable):
            register(wrong)
    with pytest.raises(IdentityMismatch):
        register(deployment.tls_files(deployment.agent("agent-2", plan.federation), tmp_path / "agent-2"))
    with pytest.raises(RequestInvalid, match=r"missing\.pem"):
        register(TlsFiles(ca=tmp_path / "missing.pem"))
