"""The outbox is bounded in bytes: the oldest that is not uploaded goes, never silently, and nothing else does."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alignfed.errors import DiskFull, RequestInvalid
from alignfed.exposition import new_registry
from alignfed.failpoints import armed
from edge_agent.domain import DeltaState, PreparedDelta, Receipt, Totals
from edge_agent.journal import Journal
from edge_agent.metrics import AgentMetrics
from edge_agent.outbox.outbox import Outbox
from edge_agent.state import StateDirectory
from edge_agent.status import AgentStatus, StatusFile
from tests.support.prepared_deltas import prepared
from tests.support.small_disk import empty, fill, small_disk

DELTA_BYTES = 1000
THREE = 3 * DELTA_BYTES


class Desk:
    """An outbox with a journal over one state directory, as an agent has them."""

    def __init__(self, root: Path, *, max_bytes: int = THREE) -> None:
        self.directory = StateDirectory(root, federation="demo", agent_id="agent-1")
        self.outbox = Outbox(self.directory.outbox, max_bytes=max_bytes)
        self.metrics = AgentMetrics(new_registry("agent"), federation="demo")
        self.status = StatusFile(root / "status.json", AgentStatus(agent_id="agent-1", federation="demo"))
        self.journal = Journal(directory=self.directory, status=self.status, metrics=self.metrics, outbox=self.outbox)

    def keep(self, *, deltas: int = 1) -> None:
        for _ in range(deltas):
            delta = delta_number(self.journal.next_sequence)
            while (dropped := self.outbox.drop_oldest_for(delta)) is not None:
                self.journal.dropped(dropped.meta)
            self.outbox.put(delta)
            self.journal.made(delta.meta, mean_loss=1.0)

    def crash(self) -> None:
        self.directory.close()

    @property
    def sequences(self) -> list[int]:
        return [entry.meta.sequence for entry in self.outbox.pending]

    @property
    def totals(self) -> Totals:
        return self.directory.state.totals


OpenDesk = Callable[..., Desk]


@pytest.fixture
def open_desk() -> Iterator[OpenDesk]:
    """Open desks, and close them at the end."""
    opened: list[Desk] = []

    def open_one(root: Path, **room: int) -> Desk:
        opened.append(Desk(root, **room))
        return opened[-1]

    yield open_one
    for desk in opened:
        desk.crash()


def delta_number(sequence: int) -> PreparedDelta:
    return prepared(sequence, payload=bytes(DELTA_BYTES))


def test_the_oldest_pending_delta_goes_and_is_counted_everywhere(
    open_desk: OpenDesk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = open_desk(tmp_path)
    desk.keep(deltas=5)
    assert desk.sequences == [2, 3, 4]
    assert desk.totals == Totals(made=5, dropped=2)
    assert desk.status.status.deltas_dropped == 2
    labels = {"federation": "demo"}
    assert desk.metrics.registry.get_sample_value("alignfed_agent_deltas_total", {**labels, "outcome": "dropped"}) == 2
    assert desk.metrics.registry.get_sample_value("alignfed_agent_outbox_bytes", labels) == THREE
    assert "dropped, 2 in all" in caplog.text
    assert "--max-outbox-bytes" in caplog.text
    assert not list((tmp_path / "outbox" / "dropped").iterdir())

    desk.crash()
    again = open_desk(tmp_path)
    assert again.sequences == [2, 3, 4]
    again.keep()
    assert again.sequences == [3, 4, 5]
    assert again.totals == Totals(made=6, dropped=3)


def test_acknowledged_deltas_are_never_dropped_even_when_they_alone_are_too_many(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    desk = open_desk(tmp_path)
    desk.keep(deltas=2)
    assert not desk.outbox.full_of_acknowledged
    for entry in desk.outbox.pending:
        desk.outbox.acknowledge(entry.meta.delta_id)
    desk.keep(deltas=3)
    assert desk.sequences == [4]  # there is room for one beside those
    desk.outbox.acknowledge(desk.outbox.pending[0].meta.delta_id)
    assert desk.outbox.full_of_acknowledged
    desk.keep()
    assert desk.sequences == [5]  # above the bound by one delta, which nothing but itself could make room for
    assert len(desk.outbox.acknowledged) == 3
    desk.outbox.remove(desk.outbox.acknowledged[0].meta.delta_id)
    assert not desk.outbox.full_of_acknowledged
    assert desk.totals == Totals(made=6, dropped=2)


@pytest.mark.parametrize("cut_off", ["as it leaves", "before it is counted", "before it is forgotten"])
def test_a_drop_that_a_crash_cuts_off_is_counted_once(open_desk: OpenDesk, tmp_path: Path, cut_off: str) -> None:
    desk = open_desk(tmp_path)
    desk.keep(deltas=3)
    if cut_off == "as it leaves":
        with armed("outbox.drop.rename.after=error"), pytest.raises(DiskFull):
            desk.outbox.drop_oldest_for(delta_number(3))
    else:
        assert desk.outbox.drop_oldest_for(delta_number(3)) is not None
    if cut_off == "before it is forgotten":
        counted = dataclasses.replace(desk.directory.state, totals=Totals(made=3, dropped=1))
        desk.directory.save(counted)
    desk.crash()

    for _ in range(2):
        again = open_desk(tmp_path)
        assert again.sequences == [1, 2]
        assert again.totals == Totals(made=3, dropped=1)
        assert not list((tmp_path / "outbox" / "dropped").iterdir())
        again.crash()


def test_a_payload_that_cannot_be_deleted_at_once_is_deleted_when_its_drop_is_counted(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    desk = open_desk(tmp_path)
    desk.keep(deltas=3)
    with armed("outbox.drop.delete.before=error"):
        desk.keep()
    assert desk.sequences == [1, 2, 3]
    assert desk.totals == Totals(made=4, dropped=1)
    assert not list((tmp_path / "outbox" / "dropped").iterdir())


def test_a_smaller_bound_after_a_restart_holds_from_the_next_delta_on(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    desk.keep(deltas=3)
    desk.crash()
    smaller = open_desk(tmp_path, max_bytes=DELTA_BYTES)
    assert smaller.sequences == [0, 1, 2]
    smaller.keep()
    assert smaller.sequences == [3]
    assert smaller.totals == Totals(made=4, dropped=3)


def test_neither_the_clock_nor_the_files_times_decide_which_delta_is_the_oldest(
    open_desk: OpenDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(tmp_path)
    day = 86_400.0
    for jump in (0, -day, 3 * day):
        monkeypatch.setattr("time.time", lambda jump=jump: 1_790_000_000.0 + jump)
        desk.keep()
    for back, entry in enumerate(desk.outbox.pending):
        os.utime(entry.directory, (day * (9 - back), day * (9 - back)))
    desk.crash()
    again = open_desk(tmp_path)
    assert again.sequences == [0, 1, 2]
    again.keep()
    assert again.sequences == [1, 2, 3]


def test_a_full_disk_is_a_clear_error_and_every_step_goes_on_when_there_is_space(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=400_000) as disk:
        desk = open_desk(disk, max_bytes=10 * DELTA_BYTES)
        desk.keep(deltas=3)
        first, second, _ = desk.outbox.pending
        fill(disk)
        delta = prepared(3, payload=bytes(50_000))
        for _ in range(2):
            with pytest.raises(DiskFull, match=r"no space is left for .*: free some"):
                desk.outbox.put(delta)
        assert not list((disk / "outbox" / "new").iterdir())  # half a delta would take the space that others need
        desk.outbox.acknowledge(first.meta.delta_id)
        desk.journal.activity(desk.status.status.state, "on a full disk")
        desk.journal.rejected(second.meta, Receipt(delta_id=second.meta.delta_id, state=DeltaState.REJECTED))
        assert desk.totals == Totals(made=3, rejected=1)
        desk.outbox.reject(second.meta.delta_id, Receipt(delta_id=second.meta.delta_id, state=DeltaState.REJECTED))
        assert desk.sequences == [2]

        empty(disk)
        desk.outbox.put(delta)
        desk.journal.made(delta.meta, mean_loss=1.0)
        desk.crash()
        again = open_desk(disk)
        assert again.sequences == [2, 3]
        assert [entry.meta.delta_id for entry in again.outbox.acknowledged] == [first.meta.delta_id]
        assert again.totals == Totals(made=4, rejected=1)
        again.crash()


def test_an_agent_starts_on_a_full_disk(open_desk: OpenDesk, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=200_000) as disk:
        desk = open_desk(disk)
        desk.keep(deltas=2)
        desk.crash()
        fill(disk)
        again = open_desk(disk)
        assert again.sequences == [0, 1]
        again.outbox.remove(again.outbox.pending[0].meta.delta_id)
        assert again.sequences == [1]
        again.crash()


def test_a_directory_that_cannot_be_written_says_which(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    shutil.rmtree(tmp_path / "outbox")
    with pytest.raises(RequestInvalid, match=r"outbox.* cannot be written .*--state-dir"):
        desk.outbox.put(delta_number(0))
