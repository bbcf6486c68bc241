"""What sparse deltas leave out, and those that come back: each counts once, or is let go by a rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from alignfed.errors import ERRORS_BY_REASON
from alignfed.plan import BaseModel, Encoding, Lora, TensorSpec
from edge_agent.outbox.leftovers import RETURNED_REASONS
from edge_agent.training.feedback import read_owed
from tests.support.sparse_agent import NAME, PLACES, PLAN, SparseAgent, content_of, made_until

OTHERS = {
    "base model": dataclasses.replace(PLAN, base_model=BaseModel(name="m", digest="ab" * 32)),
    "federation": dataclasses.replace(PLAN, federation="other"),
    "manifest": dataclasses.replace(
        PLAN, lora=Lora(rank=2), tensors=(TensorSpec(name=NAME, shape=(2, PLACES)),)
    ),
}  # fmt: skip


def test_what_is_held_and_what_is_owed_are_all_that_was_made(tmp_path: Path) -> None:
    for made in range(1, 13):
        with SparseAgent(tmp_path) as agent:  # a restart each time
            agent.make()
            assert torch.equal(agent.held() + agent.owed(), made_until(made))
    with SparseAgent(tmp_path) as agent:
        for entry in agent.outbox.pending:
            assert int((agent.content(entry) != 0).sum()) == 2
            assert not (entry.directory / "residual").exists()


def test_the_residual_outlives_the_deltas_that_left_it(tmp_path: Path) -> None:
    with SparseAgent(tmp_path) as agent:
        for _ in range(8):
            agent.make()
        owed = agent.owed()
        merged = agent.held()
        for entry in agent.outbox.pending:
            agent.outbox.acknowledge(entry.meta.delta_id)
            agent.outbox.remove(entry.meta.delta_id)
    with SparseAgent(tmp_path) as agent:
        assert torch.equal(agent.owed(), owed)
        assert torch.equal(merged + owed, made_until(8))


@pytest.mark.parametrize("reason", sorted(RETURNED_REASONS))
def test_a_delta_rejected_for_its_base_alone_goes_into_the_next(tmp_path: Path, reason: str) -> None:
    with SparseAgent(tmp_path) as agent:
        rejected = agent.make()
        agent.make()
        agent.reject(rejected, reason)
        assert torch.equal(agent.held() + agent.owed(), made_until(2))
    with SparseAgent(tmp_path) as agent:
        agent.make()
        assert agent.outbox.leftovers.returned() == []
        assert torch.equal(agent.held() + agent.owed(), made_until(3))


@pytest.mark.parametrize("reason", ["DELTA_NORM_TOO_LARGE", "NON_FINITE", "CANDIDATE_GATED"])
def test_a_delta_rejected_for_its_content_is_let_go(tmp_path: Path, reason: str) -> None:
    assert reason in ERRORS_BY_REASON
    with SparseAgent(tmp_path) as agent:
        entry = agent.make()
        agent.make()
        content, owed = agent.content(entry), agent.owed()
        agent.reject(entry, reason)
        assert torch.equal(agent.owed(), owed)
        assert torch.equal(agent.held() + agent.owed() + content, made_until(2))


def test_a_delta_from_a_branch_that_was_rolled_back_takes_the_residual_along(tmp_path: Path) -> None:
    with SparseAgent(tmp_path) as agent:
        for _ in range(8):
            entry = agent.make()
        assert bool(agent.owed().any())
        agent.reject(entry, "BASE_VERSION_OTHER_BRANCH")
        assert not bool(agent.owed().any())


def test_a_delta_dropped_for_lack_of_room_goes_into_the_next_unless_it_may_have_arrived(tmp_path: Path) -> None:
    with SparseAgent(tmp_path / "one") as agent:
        room = 2 * agent.make().meta.total_bytes
    with SparseAgent(tmp_path / "two", max_bytes=room) as agent:
        first = agent.make()
        for _ in range(3):
            agent.make()
        assert (agent.directory.state.totals.dropped, agent.outbox.dropped) == (2, 0)
        assert torch.equal(agent.held() + agent.owed(), made_until(4))
        assert not agent.outbox.begin(first.meta.delta_id)
        uploading = agent.outbox.pending[0]
        assert agent.outbox.begin(uploading.meta.delta_id)
        content = agent.content(uploading)
        agent.make()
        assert torch.equal(agent.held() + agent.owed() + content, made_until(5))
    with SparseAgent(tmp_path / "two", max_bytes=room) as agent:  # whose uploads may have begun before
        content += agent.content(agent.outbox.pending[0])
        agent.make()
        assert torch.equal(agent.held() + agent.owed() + content, made_until(6))


@pytest.mark.parametrize("what", OTHERS)
def test_what_belongs_elsewhere_is_not_taken_up(tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    with SparseAgent(tmp_path) as agent:
        for _ in range(7):
            agent.make()
        agent.reject(agent.outbox.pending[-1], "BASE_VERSION_TOO_OLD")
        agent.outbox.leftovers.forget({entry.meta.delta_id for entry in agent.outbox.leftovers.returned()})
        assert bool(agent.owed().any())
    with SparseAgent(tmp_path, plan=OTHERS[what]) as agent:
        assert not bool(read_owed(agent.outbox.leftovers, agent.plan, agent.plan.tensors).factors)
        assert "starts anew" in caplog.text
        sequence = agent.journal.next_sequence
        entry = agent.make()
        assert torch.equal(agent.content(entry) + agent.owed(), content_of(sequence))


def test_a_returned_delta_of_another_rank_is_let_go(tmp_path: Path) -> None:
    with SparseAgent(tmp_path) as agent:
        agent.reject(agent.make(), "BASE_VERSION_TOO_OLD")
        assert bool(agent.owed().any())
    with SparseAgent(tmp_path, plan=OTHERS["manifest"]) as agent:
        assert not bool(agent.owed().any())
        agent.make()
        assert list((agent.directory.outbox / "returned").iterdir()) == []


@pytest.mark.parametrize("kept", [slice(0), slice(0, -3), slice(5, None)])
def test_a_damaged_residual_is_said_and_starts_anew(
    tmp_path: Path, kept: slice, caplog: pytest.LogCaptureFixture
) -> None:
    with SparseAgent(tmp_path) as agent:
        for _ in range(7):
            agent.make()
        file = agent.outbox.leftovers.residual
        file.write_bytes(file.read_bytes()[kept])
    with SparseAgent(tmp_path) as agent:
        assert not bool(agent.owed().any())
        assert "is damaged" in caplog.text
        agent.make()


def test_a_damaged_returned_delta_is_let_go(tmp_path: Path) -> None:
    with SparseAgent(tmp_path) as agent:
        agent.reject(agent.make(), "BASE_VERSION_TOO_OLD")
        (entry,) = agent.outbox.leftovers.returned()
        content = agent.content(entry)
        assert torch.equal(agent.owed(), content_of(0))
        entry.payload.write_bytes(bytes(entry.meta.total_bytes))
        assert torch.equal(agent.owed(), content_of(0) - content)
        agent.make()
        assert agent.outbox.leftovers.returned() == []


def test_dense_deltas_leave_nothing(tmp_path: Path) -> None:
    with SparseAgent(tmp_path, plan=dataclasses.replace(PLAN, delta_encoding=Encoding.BF16)) as agent:
        agent.reject(agent.make(), "BASE_VERSION_TOO_OLD")
        assert not agent.outbox.leftovers.residual.exists()
        assert agent.outbox.leftovers.returned() == []
