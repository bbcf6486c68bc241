"""What an attacker may do: train on other rows or labels, and send something else than what it trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from alignfed.codec import Factors
from alignfed.errors import PlanInvalid
from bench.simulator.stacked import Sequences
from coordinator.algo.values import Load
from coordinator.worker.calibration_rows import CalibrationRow


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What an attacker knows when its delta is asked for.

    Attributes:
        trained: Trains its own delta on the rows it was given. An attack that does not need it does not call it.
        version: Number of its base version.
        base: The factors of it.
        before: The version before that; None for version 0.
        honest: The newest deltas of honest agents. Only colluders who read along have them: the strongest assumption.
        agents: How many agents there are.
        attackers: How many of them attack.
    """

    trained: Load
    version: int
    base: Factors
    before: Factors | None
    honest: Sequence[Factors]
    agents: int
    attackers: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way of attacking; everything is a pure function, and None leaves the honest way.

    Attributes:
        name: In tables and on the command line.
        rows: What it trains on, for the rows it holds.
        labels: What it trains to answer: tokens and labels of every row, for honest ones and the vocabulary's size.
        send: What it sends, a delta with the shapes of the base.
        silent: Sends nothing at all: what a perfect defence would leave of any attack.
    """

    name: str
    rows: Callable[[Sequence[CalibrationRow]], tuple[CalibrationRow, ...]] | None = None
    labels: Callable[[Sequences, int], Sequences] | None = None
    send: Callable[[Knowledge], Factors] | None = None
    silent: bool = False


def get_attack(name: str, attacks: dict[str, Attack]) -> Attack:
    """Return the attack of that name.

    Raises:
        PlanInvalid: There is none; the message lists those that exist.
    """
    if name not in attacks:
        raise PlanInvalid(f"attack {name!r} is unknown: choose one of {', '.join(attacks)}")
    return attacks[name]
