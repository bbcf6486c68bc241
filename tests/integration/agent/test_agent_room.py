"""An agent that is offline for long, with little room: what it drops it counts, the rest arrives, disk full or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid
from alignfed.failpoints import armed
from alignfed.layout import layout_of
from alignfed.plan import FederationPlan
from edge_agent.outbox.outbox import Outbox
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import LiveCoordinator
from tests.support.small_disk import empty, fill, small_disk
from tests.support.tiny_federation import fresh_adapter
from tests.support.waiting import wait_until

DISK_BYTES = 4 * 2**20


def delta_bytes(plan: FederationPlan) -> int:
    return layout_of(plan.tensors, plan.delta_encoding).total_bytes


def test_offline_for_long_and_back_with_a_full_outbox(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    """Off the line, restarted with a full outbox, still off the line, and back."""
    room = {"max_outbox_bytes": 3 * delta_bytes(plan), "max_pending": 100}
    offline = settings(**room)

    def unplug(job: int, _job: object) -> None:
        if job == 1:
            coordinator.stop()

    trainer = AddingTrainer(before=unplug)
    with AgentThread(offline, trainer.make) as agent:
        wait_until(lambda: read_status(offline).get("deltas_dropped", 0) >= 4, what="deltas are dropped")
        totals = agent.stop()
    kept = Outbox(offline.state_dir / "outbox").pending
    assert totals.made == totals.dropped + 3
    assert [entry.meta.sequence for entry in kept] == [totals.made - 3, totals.made - 2, totals.made - 1]

    with AgentThread(settings(**room, max_deltas=1), AddingTrainer().make) as agent:
        coordinator.start()  # while it tries to register
        again = agent.finish()
    sent = {delta.delta_id for delta in coordinator.deltas(plan.federation)}
    held = {entry.meta.delta_id for entry in Outbox(offline.state_dir / "outbox").acknowledged}
    assert again.made == totals.made + 1
    assert len(held) == again.made - again.dropped
    assert held <= sent
    assert len(sent - held) <= 1, "only the one that was dropped during its upload may have arrived all the same"


def test_training_pauses_while_uploaded_deltas_alone_fill_the_outbox(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    here = settings(max_outbox_bytes=2 * delta_bytes(plan))
    pending = here.state_dir / "outbox" / "pending"

    def after_upload(_job: int, _for: object) -> None:
        wait_until(lambda: not any(pending.iterdir()), what="what was made before is uploaded, not to be dropped")

    with AgentThread(here, AddingTrainer(before=after_upload).make) as agent:
        wait_until(lambda: "fill the outbox" in read_status(here).get("detail", ""), what="training pauses")
        assert 2 <= coordinator.queued(plan.federation) <= 3  # one may have been in training
        coordinator.publish(plan, fresh_adapter(plan), merged=coordinator.claim(plan.federation))
        wait_until(lambda: read_status(here)["deltas_made"] > 2, what="training goes on after a merge")
        assert agent.stop().dropped == 0


def test_an_outbox_without_room_for_one_delta_is_refused(plan: FederationPlan, settings: MakeSettings) -> None:
    with (
        AgentThread(settings(max_outbox_bytes=delta_bytes(plan) - 1), AddingTrainer().make) as agent,
        pytest.raises(RequestInvalid, match=r"max-outbox-bytes .*room for one"),
    ):
        agent.finish()


def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        here = settings(state_dir=disk / "state", max_deltas=3)
        trainer = AddingTrainer(before=lambda job, _job: fill(disk) if job == 2 else None)
        with AgentThread(here, trainer.make) as agent:
            wait_until(lambda: "no space is left" in read_status(here).get("detail", ""), what="the agent waits")
            assert read_status(here)["deltas_made"] == 1
            empty(disk)
            assert agent.finish(timeout_seconds=60).made == 3
        sent = coordinator.deltas(plan.federation)
        assert len({delta.delta_id for delta in sent}) == len(sent) == 3


@pytest.mark.parametrize(
    "place",
    [
        "outbox.put.payload.before",
        "outbox.put.rename.before",
        "outbox.acknowledge.before",
        "outbox.move.rename.before",
        "file.fsync.before",
        "file.fsync_directory.before",
        "state.save.before",
    ],
)
def test_no_step_that_a_full_disk_refuses_for_a_while_ends_the_agent_or_loses_a_delta(
    coordinator: LiveCoordinator,
    plan: FederationPlan,
    settings: MakeSettings,
    capfd: pytest.CaptureFixture[str],
    place: str,
) -> None:
    here = settings(max_deltas=2)

    def fill_up(job: int, _job: object) -> None:
        if job == 1:
            refusing.__enter__()

    refusing = armed(f"{place}=error@1-3")
    try:
        with AgentThread(here, AddingTrainer(before=fill_up).make) as agent:
            totals = agent.finish(timeout_seconds=60)
    finally:
        refusing.__exit__(None, None, None)
    assert re.search(rf"^failpoint {re.escape(place)} hit 1 ", capfd.readouterr().err, re.MULTILINE)
    assert totals.made == 2
    sent = [delta.delta_id for delta in coordinator.deltas(plan.federation)]
    assert len(sent) == len(set(sent)) == 2
    assert {entry.meta.delta_id for entry in Outbox(here.state_dir / "outbox").acknowledged} == set(sent)
