"""Agents that load signed versions only, against real coordinators that serve forged, old and forked ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from alignfed.errors import ManifestForeign, RequestInvalid, SignatureInvalid, VersionUnsigned
from alignfed.plan import FederationPlan
from alignfed.version_manifest import SignedManifest
from coordinator.backends.memory import MemoryStore
from coordinator.backup.checking import opened_backup
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import write_backup
from coordinator.clock import SystemClock
from coordinator.domain import VersionRecord
from coordinator.signing import Signer
from edge_agent import versions
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import LiveCoordinator
from tests.support.signing import KeyPair
from tests.support.stores import NOW
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.waiting import wait_until

QUIET = Progress(lambda _line: None, SystemClock())
PAIR, THIEF = KeyPair(), KeyPair()


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveCoordinator]:
    monkeypatch.setattr(versions, "REFUSED_SECONDS", 0.1)
    with LiveCoordinator() as live:
        live.signer = Signer(PAIR.signing)
        live.start()
        yield live


@pytest.fixture
def keyed(settings: MakeSettings, tmp_path: Path) -> MakeSettings:
    return partial(settings, version_key=PAIR.write_public(tmp_path / "keys.pem"))


class Server:
    """What a server that lies does to the records it serves; payloads are as they were."""

    def __init__(self, coordinator: LiveCoordinator, federation: str) -> None:
        self._coordinator = coordinator
        self._name = federation

    def records(self) -> list[VersionRecord]:
        assert isinstance(self._coordinator.store, MemoryStore)
        return self._coordinator.store._state.federation(self._name).versions

    def serve(self, records: list[VersionRecord]) -> None:
        self._coordinator.stop()
        self.records()[:] = records
        self._coordinator.start()

    def forge_head(self, **changes: object) -> None:
        *older, head = self.records()
        self.serve([*older, dataclasses.replace(head, **changes)])  # type: ignore[arg-type]

    def forge_manifest(self, **changes: str) -> None:
        signed = self.records()[-1].signed
        assert signed is not None
        self.forge_head(signed=dataclasses.replace(signed, **changes))


@pytest.fixture
def server(coordinator: LiveCoordinator, plan: FederationPlan) -> Server:
    return Server(coordinator, plan.federation)


def pulls(settings: MakeSettings) -> int:
    """Run an agent until it has made a delta, and return the base version's number."""
    trainer = AddingTrainer()
    with AgentThread(settings(max_deltas=None), trainer.make):
        wait_until(lambda: bool(trainer.jobs), what="a job begins")
    return trainer.jobs[0].base.number


def refusal(settings: MakeSettings) -> str:
    """Run an agent until it refuses the head, and return why; it must not have trained."""
    trainer = AddingTrainer()
    with AgentThread(settings(), trainer.make):
        wait_until(lambda: "refused" in read_status(settings()).get("detail", ""), what="the head is refused")
        detail: str = read_status(settings())["detail"]
    assert not trainer.jobs
    return detail.rpartition(" ")[2]


def accepted(settings: MakeSettings) -> int:
    signed = SignedManifest(**json.loads((settings().state_dir / "accepted-version.json").read_text()))
    return PAIR.accepted.verify(signed).version.number


def test_signed_versions_are_trained_from_and_remembered(
    coordinator: LiveCoordinator, plan: FederationPlan, keyed: MakeSettings
) -> None:
    assert pulls(keyed) == 0
    assert accepted(keyed) == 0
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    assert pulls(keyed) == 1
    assert accepted(keyed) == 1


def test_versions_that_are_skipped_do_not_matter(
    coordinator: LiveCoordinator, plan: FederationPlan, keyed: MakeSettings
) -> None:
    pulls(keyed)
    for seed in range(1, 5):
        coordinator.publish(plan, fresh_adapter(plan, seed=seed))
    assert pulls(keyed) == 4


def test_at_first_contact_an_unsigned_version_or_another_key_ends_the_agent(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings, tmp_path: Path
) -> None:
    other = THIEF.write_public(tmp_path / "other.pem")
    with AgentThread(keyed(version_key=other), AddingTrainer().make) as agent, pytest.raises(SignatureInvalid):
        agent.finish()
    server.forge_head(signed=None)
    with AgentThread(keyed(), AddingTrainer().make) as agent, pytest.raises(VersionUnsigned):
        agent.finish()
    assert not (keyed().state_dir / "accepted-version.json").exists()


def test_without_keys_unsigned_versions_are_taken(
    coordinator: LiveCoordinator, server: Server, settings: MakeSettings
) -> None:
    server.forge_head(signed=None)
    assert pulls(settings) == 0


def test_an_adapter_that_was_replaced_behind_a_genuine_manifest_is_refused(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings
) -> None:
    pulls(keyed)
    genuine = coordinator.publish(plan, fresh_adapter(plan, seed=1))
    payload = server.records()[0].adapter  # another payload, with its own digest in header and identity
    server.forge_head(id=dataclasses.replace(genuine, digest=payload.sha256), adapter=payload)
    assert refusal(keyed) == ManifestForeign.reason
    assert accepted(keyed) == 0


def test_a_manifest_or_signature_that_was_changed_is_refused(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings
) -> None:
    pulls(keyed)
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    genuine = list(server.records())
    assert genuine[1].signed is not None
    server.forge_manifest(manifest=genuine[1].signed.manifest.replace('"merge"', '"rollback"'))
    assert refusal(keyed) == SignatureInvalid.reason
    server.serve(genuine)
    server.forge_manifest(signature="00" * 64)
    assert refusal(keyed) == SignatureInvalid.reason
    thief = Signer(THIEF.signing).sign(plan.federation, genuine[1], genuine[0])
    server.serve([genuine[0], thief])
    assert refusal(keyed) == SignatureInvalid.reason
    server.serve([genuine[0], dataclasses.replace(genuine[1], signed=None)])
    assert refusal(keyed) == VersionUnsigned.reason
    server.serve(genuine)
    assert pulls(keyed) == 1


def test_an_old_signed_version_as_the_head_is_refused_also_after_a_restart(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings
) -> None:
    for seed in (1, 2):
        coordinator.publish(plan, fresh_adapter(plan, seed=seed))
    genuine = list(server.records())
    trainer = AddingTrainer()
    with AgentThread(keyed(), trainer.make):
        wait_until(lambda: bool(trainer.jobs), what="the agent trains from version 2")
        server.serve(genuine[:2])
        wait_until(lambda: "REPLAYED" in read_status(keyed()).get("detail", ""), what="the running agent refuses")
    assert {job.base.number for job in trainer.jobs} == {2}  # it may have begun another before the lie
    assert refusal(keyed) == "VERSION_REPLAYED"
    server.serve(genuine)
    assert pulls(keyed) == 2


def test_a_fork_signed_by_the_same_key_is_refused_until_a_signed_rollback(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings
) -> None:
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    pulls(keyed)
    server.serve(server.records()[:1])  # the store loses version 1, and a worker merges anew
    coordinator.publish(plan, fresh_adapter(plan, seed=2))
    assert refusal(keyed) == "MANIFEST_CHAIN_BROKEN"
    coordinator.publish(plan, fresh_adapter(plan, seed=3))  # a direct child of what was lost, by its number
    assert refusal(keyed) == "MANIFEST_CHAIN_BROKEN"
    sign = partial(coordinator.signer.sign, plan.federation)
    coordinator.run(coordinator.store.versions.roll_back(plan.federation, 1, at=NOW, sign=sign))
    assert pulls(keyed) == 3


def test_a_rollback_is_followed_when_it_is_signed_and_refused_when_not(
    coordinator: LiveCoordinator, plan: FederationPlan, server: Server, keyed: MakeSettings
) -> None:
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    pulls(keyed)
    genuine = list(server.records())
    coordinator.run(coordinator.store.versions.roll_back(plan.federation, 0, at=NOW))
    assert refusal(keyed) == VersionUnsigned.reason
    server.serve(genuine)
    sign = partial(coordinator.signer.sign, plan.federation)
    coordinator.run(coordinator.store.versions.roll_back(plan.federation, 0, at=NOW, sign=sign))
    assert pulls(keyed) == 2
    coordinator.publish(plan, fresh_adapter(plan, seed=5))
    assert pulls(keyed) == 3


def test_a_restored_backup_is_followed_when_the_restore_is_signed(
    coordinator: LiveCoordinator, plan: FederationPlan, keyed: MakeSettings, tmp_path: Path
) -> None:
    file, clock, name = tmp_path / "one.backup", SystemClock(), plan.federation
    coordinator.run(write_backup(coordinator.store, [name], file, clock=clock, progress=QUIET))
    for seed in (1, 2, 3):
        coordinator.publish(plan, fresh_adapter(plan, seed=seed))
    assert pulls(keyed) == 3

    def restore(signer: Signer | None) -> None:
        coordinator.stop()
        coordinator.store = MemoryStore()
        with opened_backup(file, QUIET) as backup:
            coordinator.run(
                restore_backup(coordinator.store, backup, [name], clock=clock, progress=QUIET, signer=signer)
            )
        coordinator.start()

    restore(None)
    assert refusal(keyed) == "VERSION_REPLAYED"
    restore(coordinator.signer)
    assert pulls(keyed) == 1
    coordinator.publish(plan, fresh_adapter(plan, seed=9))
    assert pulls(keyed) == 2


def test_keys_change_over_while_both_are_accepted(
    coordinator: LiveCoordinator, plan: FederationPlan, keyed: MakeSettings, tmp_path: Path
) -> None:
    pulls(keyed)
    coordinator.signer = Signer(THIEF.signing)  # the new key of the same operators
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    assert refusal(keyed) == SignatureInvalid.reason
    both = PAIR.write_public(tmp_path / "both.pem", THIEF)
    assert pulls(partial(keyed, version_key=both)) == 1
    coordinator.publish(plan, fresh_adapter(plan, seed=2))
    assert pulls(partial(keyed, version_key=THIEF.write_public(tmp_path / "new.pem"))) == 2


def test_a_damaged_memory_of_what_was_accepted_is_not_ignored(plan: FederationPlan, keyed: MakeSettings) -> None:
    pulls(keyed)
    file = keyed().state_dir / "accepted-version.json"
    file.write_text(file.read_text().replace("initial", "merge"))
    file.write_text(file.read_text()[:-20])
    with AgentThread(keyed(), AddingTrainer().make) as agent, pytest.raises(RequestInvalid, match="damaged"):
        agent.finish()


def test_without_keys_off_loopback_one_warning_says_so(
    tmp_path: Path, tiny_model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_agent.runtime import AgentSettings
    from edge_agent.state import StateDirectory

    name = tiny_plan(tiny_model_dir).federation
    with StateDirectory(tmp_path / "state", federation=name) as directory:
        for address, warnings in (("127.0.0.1:1", 0), ("[::1]:1", 0), ("localhost:1", 0), ("agents.example:1", 1)):
            caplog.clear()
            assert AgentSettings(coordinator=address, federation=name).acceptance(directory) is None
            assert len(caplog.records) == warnings, address
