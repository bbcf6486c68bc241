"""Agents whose coordinator's store was restored from a backup: what they hold decides what is lost, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignfed.plan import FederationPlan
from coordinator.backends.memory import MemoryStore
from coordinator.backup.checking import opened_backup
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import write_backup
from coordinator.clock import SystemClock
from coordinator.domain import DeltaState
from edge_agent.outbox.outbox import Outbox
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import LiveCoordinator
from tests.support.tiny_federation import fresh_adapter
from tests.support.waiting import wait_until

QUIET = Progress(lambda _line: None, SystemClock())


class Vault:
    """Backs the coordinator's store up, and puts a restored one in its place."""

    def __init__(self, coordinator: LiveCoordinator, path: Path) -> None:
        self._coordinator = coordinator
        self._path = path

    def back_up(self, federation: str) -> None:
        store = self._coordinator.store
        self._coordinator.run(write_backup(store, [federation], self._path, clock=SystemClock(), progress=QUIET))

    def restore(self) -> None:
        self._coordinator.stop()
        self._coordinator.store = MemoryStore()
        with opened_backup(self._path, QUIET) as backup:
            self._coordinator.run(
                restore_backup(
                    self._coordinator.store, backup, list(backup.federations), clock=SystemClock(), progress=QUIET
                )
            )
        self._coordinator.start()


@pytest.fixture
def vault(coordinator: LiveCoordinator, tmp_path: Path) -> Vault:
    return Vault(coordinator, tmp_path / "one.backup")


def test_a_delta_accepted_after_the_backup_is_sent_again(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, vault: Vault
) -> None:
    trainer = AddingTrainer()
    vault.back_up(plan.federation)
    here = settings(max_deltas=1)
    with AgentThread(here, trainer.make) as agent:
        agent.finish()
    (held,) = Outbox(here.state_dir / "outbox").acknowledged
    vault.restore()
    assert coordinator.receipt(plan.federation, held.meta.delta_id) is None
    with AgentThread(here, trainer.make):
        wait_until(lambda: coordinator.queued(plan.federation) > 0, what="the delta arrives again")
    receipt = coordinator.receipt(plan.federation, held.meta.delta_id)
    assert receipt is not None
    assert receipt.state is DeltaState.QUEUED


def test_a_delta_merged_before_the_backup_has_its_receipt(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, vault: Vault
) -> None:
    here = settings(max_deltas=1)
    trainer = AddingTrainer()
    with AgentThread(here, trainer.make) as agent:
        agent.finish()
    coordinator.publish(plan, fresh_adapter(plan, seed=1), merged=coordinator.claim(plan.federation))
    assert len(Outbox(here.state_dir / "outbox").acknowledged) == 1  # it was away, and was not told
    vault.back_up(plan.federation)
    vault.restore()
    with AgentThread(here, trainer.make):
        wait_until(lambda: read_status(here)["deltas_merged"] == 1, what="the agent is told of the merge")
        wait_until(lambda: read_status(here)["base_version"] == 1, what="the agent trains from the new version")


def test_an_agent_ahead_of_the_backup_goes_on_from_the_restored_head(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, vault: Vault
) -> None:
    vault.back_up(plan.federation)
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    here = settings(max_deltas=1)
    trainer = AddingTrainer()
    with AgentThread(here, trainer.make) as agent:
        agent.finish()
    assert trainer.jobs[0].base.number == 1
    vault.restore()
    with AgentThread(here, trainer.make) as agent:
        wait_until(lambda: read_status(here)["deltas_rejected"] == 1, what="the delta of a lost version is refused")
        agent.finish()
    assert trainer.jobs[-1].base.number == 0
    assert trainer.jobs[-1].base.digest == coordinator.head(plan.federation).digest
    assert coordinator.queued(plan.federation) == 1
