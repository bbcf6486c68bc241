"""Agents killed at every step between a sparse delta and its residual: what was trained is kept once, never twice."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch

from alignfed.failpoints import armed
from coordinator.cli.failpoint_places import places
from tests.support.sparse_agent import SparseAgent, made_until

PLACES = [
    place.place
    for place in places()
    if re.match(r"outbox\.(put|residual|return)\.|state\.save|file\.", place.place) and "clear" not in place.place
]
DELTAS = 4


@pytest.fixture(autouse=True)
def few_threads(one_thread: None) -> None:
    """A forked torch may hang in its threads."""


def live(root: Path, *, until: int) -> None:
    """Make deltas; some are rejected for their old base, so that their content goes into the next."""
    with SparseAgent(root) as agent:
        while agent.journal.next_sequence < until:
            entry = agent.make()
            if entry.meta.sequence % 3:
                agent.reject(entry, "BASE_VERSION_TOO_OLD")


def killed(root: Path, setting: str) -> bool:
    """Live in another process, with a failpoint armed; return whether it was killed."""
    child = os.fork()
    if not child:
        try:
            with armed(setting):
                live(root, until=DELTAS)
        except BaseException:  # noqa: BLE001  # a child must not return into the test's frames
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_agent_keeps_each_delta_once(tmp_path: Path, place: str) -> None:
    assert killed(tmp_path, f"{place}=crash@2")
    with SparseAgent(tmp_path) as agent:
        assert torch.equal(agent.held() + agent.owed(), made_until(agent.journal.next_sequence))
    live(tmp_path, until=DELTAS + 2)
    with SparseAgent(tmp_path) as agent:
        assert torch.equal(agent.held() + agent.owed(), made_until(DELTAS + 2))
        assert len(list((tmp_path / "outbox" / "returned").iterdir())) <= 1


def test_these_are_all_the_steps() -> None:
    assert len(PLACES) >= 20
