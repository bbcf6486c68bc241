"""Failpoints of the agent's files: the life of deltas passes every one, and a full disk at any loses no delta."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alignfed.errors import DiskFull
from alignfed.failpoints import armed
from coordinator.cli.failpoint_places import places
from edge_agent.domain import DeltaState, Receipt
from edge_agent.outbox.outbox import PAYLOAD_NAME, REJECTED_KEPT, Outbox
from edge_agent.state import StateDirectory
from tests.support.prepared_deltas import prepared
from tests.support.sparse_agent import SparseAgent

PLACES = [place.place for place in places() if re.match(r"(outbox|state|file)\.", place.place)]


def live(root: Path, kept: set[str]) -> None:
    """Lead deltas through every state, and leave behind what a crash could have left.

    Args:
        root: Where the agent keeps its files.
        kept: Gets the ids of deltas that must be in the outbox from now on, and loses those that need not.
    """
    with StateDirectory(root / "state", federation="demo") as directory:
        directory.save(directory.state)
    outbox = Outbox(root / "outbox")
    for number in range(REJECTED_KEPT):
        (root / "outbox" / "rejected" / f"older-{number}").mkdir(exist_ok=True)
    crowded = Outbox(root / "outbox", max_bytes=10)
    dropped = crowded.put(prepared(0))
    kept.add(dropped.meta.delta_id)
    kept.discard(dropped.meta.delta_id)
    crowded.drop_oldest_for(prepared(1))
    crowded.forget_dropped()
    sparse(root / "sparse")
    outbox = Outbox(root / "outbox")
    fates = (("reject",), ("acknowledge", "reopen", "remove"), ("acknowledge", "remove"))
    for sequence, fate in enumerate(fates):
        delta = prepared(sequence)
        delta_id = delta.meta.delta_id
        outbox.put(delta)
        kept.add(delta_id)
        for step in fate:
            if step in ("reject", "remove"):
                kept.discard(delta_id)
            if step == "reject":
                outbox.reject(delta_id, Receipt(delta_id=delta_id, state=DeltaState.REJECTED))
            else:
                getattr(outbox, step)(delta_id)
    (root / "outbox" / "new" / "leftover").mkdir()
    next((root / "outbox" / "rejected").iterdir()).joinpath(PAYLOAD_NAME).write_bytes(b"leftover")
    Outbox(root / "outbox")


def sparse(root: Path) -> None:
    """Lead sparse deltas through what only they pass: a residual, coming back, a branch that was rolled back."""
    with SparseAgent(root) as agent:
        agent.reject(agent.make(), "BASE_VERSION_TOO_OLD")
        agent.reject(agent.make(), "BASE_VERSION_OTHER_BRANCH")


def test_the_life_of_deltas_passes_every_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept: set[str] = set()
    with armed("; ".join(f"{place}=delay(0)@1" for place in PLACES)):
        live(tmp_path, kept)
    assert sorted(re.findall(r"^failpoint (\S+) hit 1 ", capfd.readouterr().err, re.MULTILINE)) == PLACES
    assert len(PLACES) > 30
    assert kept == set()


@pytest.mark.parametrize("hit", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_a_delta_that_was_put_outlives_a_full_disk_at_any_place(tmp_path: Path, place: str, hit: int) -> None:
    kept: set[str] = set()
    with armed(f"{place}=error@{hit}"):
        failure = None
        try:
            live(tmp_path, kept)
        except DiskFull as error:
            failure = str(error)
    # unless the place is passed only once, or nothing depends on what is done there
    assert hit == 2 or place.startswith("outbox.drop.delete") or place in str(failure)
    found = Outbox(tmp_path / "outbox")
    held = {entry.meta.delta_id: entry for entry in (*found.pending, *found.acknowledged)}
    assert kept <= held.keys()
    assert all(entry.payload.read_bytes() == b"payload" for entry in held.values())
