"""Both sides in turn, payload by payload."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.flower.goals import CONTESTS, Contest
from bench.flower.installed import Flower
from bench.flower.ours import Ours
from bench.flower.payloads import tiny
from bench.flower.rival import Rival
from bench.speed.goals import Row
from bench.speed.rounds import compare
from coordinator.local.processes import Supervisor

CLIENTS = 4
ROUNDS = 5


def measure(
    flower: Flower,
    *,
    clients: int = CLIENTS,
    rounds: int = ROUNDS,
    contests: tuple[Contest, ...] = CONTESTS,
    say: Callable[[str], None],
) -> list[Row]:
    """Measure uploads of one client, and what `clients` of them upload until it is merged.

    Both deployments run all the time and idle while the other is measured.

    Args:
        flower: Where Flower is.
        clients: How many take part in a merge.
        rounds: Rounds that count.
        contests: What is carried.
        say: Told each round.

    Raises:
        LocalProcessFailed: A process does not get ready, or fails.
    """
    payloads = [it.payload for it in contests]
    with tempfile.TemporaryDirectory(prefix="alignfed-flower-") as folder, ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        say(f"starting a coordinator, a worker and {clients} agents")
        ours = Ours(stack, supervisor, Path(folder) / "ours", payloads, clients)
        say(f"starting a SuperLink, a ServerApp and {clients} clients of Flower {flower.versions['flwr']}")
        theirs = Rival(stack, supervisor, Path(folder) / "flower", flower, clients)
        rows = []
        for it in contests:
            one = functools.partial(ours.upload, it.payload), functools.partial(theirs.upload, it.payload)
            rows.append(compare(it.upload, *one, rounds=rounds, say=say))
            if it.merge is not None:
                all_of_them = functools.partial(ours.merge, it.payload), functools.partial(theirs.merge, it.payload)
                rows.append(compare(it.merge, *all_of_them, rounds=rounds, say=say))
    return sorted(rows, key=lambda row: row.goal.number)


def tiny_contests() -> tuple[Contest, ...]:
    """Return the same contests with payloads that take no time, whose ratios say nothing."""
    return tuple(dataclasses.replace(it, payload=tiny(it.payload)) for it in CONTESTS)
