"""The random programs find a store that breaks a promise: each of these defects is noticed by them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from alignfed.plan import Retention
from coordinator.backends import rules
from coordinator.backends.memory import state, versions
from coordinator.backends.memory.agents import MemoryAgents
from coordinator.backends.memory.deltas import MemoryDeltas
from coordinator.backends.memory.leases import MemoryLeases
from coordinator.backends.memory.state import BlobBook, FederationState, MemoryState
from coordinator.backends.memory.versions import MemoryVersions
from coordinator.domain import Head, VersionRecord
from coordinator.ports import Store
from tests.model.program import Clock, open_memory
from tests.model.test_state_machine import StoreMachine

PROGRAMS = 200
"""Always the same ones; most defects are found by one of the first ten."""

Break = Callable[[pytest.MonkeyPatch], None]


def tokens_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FederationState, "check_token", lambda *_: None)


def every_worker_gets_the_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryLeases, "_live", lambda *_: None)


def accepted_payloads_stay_unclaimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryState, "keep_payload", lambda *_: None)


def merged_payloads_are_kept_for_good(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlobBook, "free", lambda *_, **__: None)


def dead_letters_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    async def forget(self: MemoryDeltas, federation: str, delta_id: str) -> None:
        self._state.federation(federation).dead.pop(delta_id)

    patch.setattr(MemoryDeltas, "requeue_dead", forget)


def rejections_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    contribute = FederationState.contribute

    def forgetful(
        self: FederationState, agent_id: str, *, merged: int = 0, weight: float = 0.0, rejected: int = 0
    ) -> None:
        if merged:
            contribute(self, agent_id, merged=merged, weight=weight)

    patch.setattr(FederationState, "contribute", forgetful)


def revocation_does_nothing(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: MemoryAgents, federation: str, agent_id: str) -> None:
        return None

    patch.setattr(MemoryAgents, "revoke", nothing)


def a_takeover_leaves_the_claims_of_others(patch: pytest.MonkeyPatch) -> None:
    deliver = MemoryDeltas._deliver

    def own_only(self: MemoryDeltas, federation: str, worker_id: str, entry_ids: list[str]) -> object:
        queue = self._state.federation(federation).queue
        return deliver(self, federation, worker_id, [i for i in entry_ids if queue[i].claimed_by in (None, worker_id)])

    patch.setattr(MemoryDeltas, "_deliver", own_only)


# ---- defects that show only after several versions, or rollbacks ----


def server_states_live_for_one_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "STATE_VERSIONS", 1)


def adapters_outlive_their_retention(patch: pytest.MonkeyPatch) -> None:
    def longer(version: VersionRecord, retention: Retention) -> dict[str, float]:
        return {blob_id: until + 1 for blob_id, until in rules.kept_until(version, retention).items()}

    patch.setattr(versions, "kept_until", longer)


def a_version_too_few_is_retained(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "oldest_retained", lambda head, plan: max(0, head - plan.versions + 2))


def a_second_rollback_forgives_what_the_first_abandoned(patch: pytest.MonkeyPatch) -> None:
    roll_back = MemoryVersions.roll_back

    async def forgiving(self: MemoryVersions, federation: str, number: int, *, at: float) -> Head:
        found = self._state.federation(federation).versions
        given_up = [index for index, version in enumerate(found) if version.abandoned]
        head = await roll_back(self, federation, number, at=at)
        for index in given_up[:1]:
            found[index] = dataclasses.replace(found[index], abandoned=False)
        return head

    patch.setattr(MemoryVersions, "roll_back", forgiving)


def a_rollback_takes_a_state_that_was_swept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryVersions, "_kept_state", lambda _self, _federation, version: version.state)


def weights_stop_counting_after_six_versions(patch: pytest.MonkeyPatch) -> None:
    contribute = FederationState.contribute

    def tired(self: FederationState, agent_id: str, *, merged: int = 0, weight: float = 0.0, rejected: int = 0) -> None:
        weight = weight if self.head.id.number < 6 else 0.0
        contribute(self, agent_id, merged=merged, weight=weight, rejected=rejected)

    patch.setattr(FederationState, "contribute", tired)


def a_payload_that_was_merged_after_its_dead_letter_is_lost(patch: pytest.MonkeyPatch) -> None:
    requeue = MemoryDeltas.requeue_dead

    async def freeing(self: MemoryDeltas, federation: str, delta_id: str) -> None:
        payload = self._state.federation(federation).dead[delta_id].delta.payload
        await requeue(self, federation, delta_id)
        self._state.book(federation).free(payload.blob_id, until=0.0)

    patch.setattr(MemoryDeltas, "requeue_dead", freeing)


@pytest.mark.parametrize(
    "defect",
    [
        tokens_are_not_checked,
        every_worker_gets_the_lease,
        accepted_payloads_stay_unclaimed,
        merged_payloads_are_kept_for_good,
        dead_letters_are_forgotten,
        rejections_are_not_counted,
        revocation_does_nothing,
        a_takeover_leaves_the_claims_of_others,
        server_states_live_for_one_version,
        adapters_outlive_their_retention,
        a_version_too_few_is_retained,
        a_second_rollback_forgives_what_the_first_abandoned,
        a_rollback_takes_a_state_that_was_swept,
        weights_stop_counting_after_six_versions,
        a_payload_that_was_merged_after_its_dead_letter_is_lost,
    ],
)
def test_a_store_with_a_defect_is_found_out(defect: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    defect(monkeypatch)

    async def opener() -> tuple[Store, Clock]:
        return open_memory()

    with asyncio.Runner() as runner, pytest.raises((AssertionError, KeyError, ExceptionGroup)):
        run_state_machine_as_test(
            lambda: StoreMachine(runner, opener),  # type: ignore[arg-type]
            settings=settings(
                max_examples=PROGRAMS,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],  # finding it is enough
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
