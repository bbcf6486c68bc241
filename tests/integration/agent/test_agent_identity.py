"""An agent's identity: joining, what `run` takes from it, renewal on a live channel."""

from __future__ import annotations

import random
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from alignfed.errors import (
    CoordinatorUnreachable,
    IdentityMissing,
    JoinTokenInvalid,
    RequestInvalid,
)
from alignfed.join_token import JoinToken, secret_digest
from alignfed.plan import FederationPlan
from coordinator.domain import JoinGrant
from edge_agent.domain import Capabilities, TlsFiles
from edge_agent.identity.folder import IdentityFolder
from edge_agent.identity.joining import join
from edge_agent.identity.renewal import Renewal
from edge_agent.identity.settings import identified
from edge_agent.wire.client import CoordinatorClient
from tests.support.identities import Deployment
from tests.support.live_coordinator import LiveCoordinator
from tests.support.waiting import wait_until

SECRET = "long and random"
TOKEN_ID = "ab" * 12


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "identities")


@pytest.fixture
def secure(coordinator: LiveCoordinator, deployment: Deployment) -> LiveCoordinator:
    """The coordinator, with identities."""
    coordinator.stop()
    coordinator.start(**deployment.settings())
    return coordinator


def token_for(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, *, agent: str = "agent-1", **changes: Any
) -> JoinToken:
    """Let an agent join, and return the token."""
    now = time.time()
    grant = JoinGrant(
        token_id=TOKEN_ID,
        secret_sha256=secret_digest(SECRET),
        agent=agent,
        federations=(plan.federation,),
        uses=3,
        created_at=now,
        expires_at=now + 60,
    )
    secure.run(secure.store.identities.grant(grant))
    fields: dict[str, Any] = {
        "token_id": TOKEN_ID,
        "secret": SECRET,
        "join": secure.join_address,
        "coordinator": secure.address,
        "agent": agent,
        "federation": plan.federation,
        "authority": deployment.root.decode(),
    }
    return JoinToken(**(fields | changes))


def client_of(folder: IdentityFolder, plan: FederationPlan) -> CoordinatorClient:
    joined = folder.joined()
    return CoordinatorClient(joined.coordinator, federation=plan.federation, agent_id=joined.agent_id, tls=folder.tls())


def test_a_joined_agent_is_let_in_and_its_key_is_its_owners(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    joined = join(token_for(secure, deployment, plan), tmp_path / "state", agent_id=None)
    assert (joined.agent_id, joined.coordinator, joined.federation) == ("agent-1", secure.address, plan.federation)
    folder = IdentityFolder(tmp_path / "state")
    with client_of(folder, plan) as client:
        assert client.register(Capabilities()).plan == plan
    for file in (folder.path, *folder.path.iterdir()):
        if file.name != "joined.json":
            assert not stat.S_IMODE(file.stat().st_mode) & 0o077, f"{file} is open to others"


def test_a_join_that_failed_goes_on_with_the_same_key(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    token = token_for(secure, deployment, plan)
    with pytest.raises(JoinTokenInvalid):
        join(token_for(secure, deployment, plan, secret="guess"), tmp_path / "state", agent_id=None)
    folder = IdentityFolder(tmp_path / "state")
    assert not folder.has_joined
    key = (folder.path / "key.pem").read_bytes()
    join(token, tmp_path / "state", agent_id=None)
    assert (folder.path / "key.pem").read_bytes() == key
    with pytest.raises(RequestInvalid, match="has joined already"):
        join(token, tmp_path / "state", agent_id=None)


def test_a_token_for_many_makes_up_an_id_under_its_beginning(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    token = token_for(secure, deployment, plan, agent="site-a-*")
    first = join(token, tmp_path / "first", agent_id=None)
    second = join(token, tmp_path / "second", agent_id="site-a-7")
    assert first.agent_id.startswith("site-a-")
    assert second.agent_id == "site-a-7"


def test_nobody_but_the_coordinator_hears_the_secret(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    other = Deployment(tmp_path / "others")
    token = token_for(secure, deployment, plan, authority=other.root.decode())
    with pytest.raises(CoordinatorUnreachable):
        join(token, tmp_path / "state", agent_id=None)
    assert not IdentityFolder(tmp_path / "state").has_joined


def settings_of(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "join_token_file": None,
        "state_dir": tmp_path / "state",
        "agent_id": None,
        "coordinator": "127.0.0.1:7300",
        "federation": None,
        "tls_ca": None,
        "tls_certificate": None,
        "tls_key": None,
        "version_key": None,
    }
    return fields | changes


def test_run_joins_once_and_takes_from_the_identity_what_nobody_gave(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    file = tmp_path / "agent.join"
    file.write_text(token_for(secure, deployment, plan).to_text())
    found = identified(settings_of(tmp_path, join_token_file=file), given=set())
    folder = IdentityFolder(tmp_path / "state")
    assert (found["coordinator"], found["federation"], found["agent_id"]) == (
        secure.address,
        plan.federation,
        "agent-1",
    )
    assert TlsFiles(ca=found["tls_ca"], certificate=found["tls_certificate"], key=found["tls_key"]) == folder.tls()
    assert "join_token_file" not in found
    file.unlink()  # used up: the next start needs it no more
    again = identified(settings_of(tmp_path, join_token_file=file), given=set())
    assert again == found
    moved = identified(settings_of(tmp_path, coordinator="elsewhere:7300"), given={"coordinator"})
    assert moved["coordinator"] == "elsewhere:7300"
    with pytest.raises(RequestInvalid, match="agent-1"):
        identified(settings_of(tmp_path, agent_id="agent-2"), given=set())


def test_an_operators_certificate_is_not_taken_for_the_agents(tmp_path: Path) -> None:
    """In a shell with an operator's variables an agent would be turned away by every coordinator, without a word."""
    ids = Deployment(tmp_path / "ids")
    given = {
        "state_dir": tmp_path / "state",
        "join_token_file": None,
        "tls_certificate": ids.files.certificate("operators/admin"),
    }
    with pytest.raises(RequestInvalid, match="unset ALIGNFED_TLS_CA"):
        identified(given, given=set())


def test_without_an_identity_the_federation_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="--federation"):
        identified(settings_of(tmp_path), given=set())
    assert identified(settings_of(tmp_path, federation="fed"), given=set())["federation"] == "fed"


def test_a_certificate_is_renewed_while_calls_run(
    coordinator: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    """Certificates live three seconds here: the agent outlives several without an error, a long poll among them."""
    coordinator.stop()
    coordinator.start(**deployment.settings(agent_certificate_days=3.0 / 86_400))
    join(token_for(coordinator, deployment, plan), tmp_path / "state", agent_id=None)
    folder, stop, ends = IdentityFolder(tmp_path / "state"), threading.Event(), []
    with client_of(folder, plan) as client:
        client.register(Capabilities())
        renewal = Renewal(folder, client, stop=stop, rng=random.Random(1), on_renewed=ends.append)
        renewal.start()
        try:
            began, polls = time.monotonic(), 0
            while time.monotonic() - began < 7:
                client.global_version(after=0, wait_seconds=0.3)
                polls += 1
        finally:
            stop.set()
            renewal.join()
    assert 3 <= len(ends) <= 6, "the certificate was renewed again and again"
    assert polls >= 10


def test_without_renewal_the_certificate_ends(
    coordinator: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    coordinator.stop()
    coordinator.start(**deployment.settings(agent_certificate_days=1.5 / 86_400))
    join(token_for(coordinator, deployment, plan), tmp_path / "state", agent_id=None)
    with client_of(IdentityFolder(tmp_path / "state"), plan) as client:
        client.register(Capabilities())

        def refused() -> bool:
            try:
                client.global_version()
            except IdentityMissing:
                return True
            return False

        wait_until(refused, what="the expired certificate is refused on the open connection")


def test_an_agent_that_was_away_for_too_long_is_told_and_joins_again(
    coordinator: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    coordinator.stop()
    coordinator.start(**deployment.settings(agent_certificate_days=0.5 / 86_400))
    token = token_for(coordinator, deployment, plan)
    join(token, tmp_path / "state", agent_id=None)
    folder = IdentityFolder(tmp_path / "state")
    wait_until(lambda: folder.has_expired, what="the certificate has expired")
    with pytest.raises(RequestInvalid, match="join again"):
        identified(settings_of(tmp_path), given=set())
    coordinator.stop()
    coordinator.start(**deployment.settings())
    file = tmp_path / "agent.join"
    file.write_text(token_for(coordinator, deployment, plan).to_text())
    assert identified(settings_of(tmp_path, join_token_file=file), given=set())["agent_id"] == "agent-1"
    with client_of(folder, plan) as client:
        client.register(Capabilities())


def test_a_foreign_certificate_does_not_replace_ones_own(
    secure: LiveCoordinator, deployment: Deployment, plan: FederationPlan, tmp_path: Path
) -> None:
    join(token_for(secure, deployment, plan), tmp_path / "state", agent_id=None)
    folder = IdentityFolder(tmp_path / "state")
    own = (folder.path / "certificate.pem").read_bytes()
    for foreign in (deployment.agent("agent-1").certificate, b"garbage", b""):
        with pytest.raises(RequestInvalid):
            folder.renew(foreign)
    assert (folder.path / "certificate.pem").read_bytes() == own
