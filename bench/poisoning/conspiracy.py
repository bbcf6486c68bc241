"""Who attacks, and what they know of each other and of the honest: how an attack becomes the fleet's conduct."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Sequence

from alignfed.codec import Factors
from alignfed.errors import RequestInvalid
from bench.federation.fleet import Agent
from bench.poisoning.attack import Attack, Knowledge
from bench.poisoning.outcome import Placement
from bench.simulator.scenario import Conduct, Trained
from bench.simulator.stacked import Sequences
from coordinator.algo.values import Load
from coordinator.worker.calibration_rows import CalibrationRow

REMEMBERED = 16
"""Honest deltas that colluders have in mind, the newest."""

Tokenise = Callable[[tuple[CalibrationRow, ...]], Sequences]


def attackers_among(agents: Sequence[Agent], share: float, placement: Placement) -> frozenset[str]:
    """Return the ids of the attackers: `share` of the agents, rounded, one at least where the share is above 0.

    Args:
        agents: The fleet, in any order.
        share: In [0, 1).
        placement: `even` takes every n-th of the agents by speed, so that attackers are as fast as the fleet is.

    Raises:
        RequestInvalid: The share is out of range.
    """
    if not 0 <= share < 1:
        raise RequestInvalid(f"a share of {share:g} attackers is not in [0, 1): somebody has to be honest")
    ordered = sorted(agents, key=lambda agent: (-agent.speed, agent.agent_id))
    count = max(1, round(share * len(ordered))) if share else 0
    if placement is Placement.FAST:
        chosen = ordered[:count]
    elif placement is Placement.SLOW:
        chosen = ordered[len(ordered) - count :]
    else:
        chosen = [ordered[int((place + 0.5) * len(ordered) / count)] for place in range(count)]
    return frozenset(agent.agent_id for agent in chosen)


class Conspiracy:
    """Owns what the attackers of one run know.

    Args:
        attack: What they do.
        attackers: Their ids.
        agents: How many agents there are.
        vocabulary: Tokens that the model knows.
        tokenise: Tokenises rows as the engine does.
    """

    def __init__(
        self, attack: Attack, attackers: frozenset[str], *, agents: int, vocabulary: int, tokenise: Tokenise
    ) -> None:
        self._attack, self._attackers = attack, attackers
        self._agents, self._vocabulary, self._tokenise = agents, vocabulary, tokenise
        self._honest: collections.deque[Factors] = collections.deque(maxlen=REMEMBERED)
        self._poisoned: dict[str, Sequences] = {}

    @property
    def conduct(self) -> Conduct:
        """How the fleet behaves."""
        return Conduct(rows=self._rows, send=self._send)

    def _rows(self, agent: Agent, rows: Sequences) -> Sequences:
        if agent.agent_id not in self._attackers:
            return rows
        if agent.agent_id not in self._poisoned:  # the same rows at each of its jobs
            attack = self._attack
            poisoned = rows if attack.rows is None else self._tokenise(attack.rows(agent.rows))
            if attack.labels is not None:
                poisoned = attack.labels(poisoned, self._vocabulary)
            self._poisoned[agent.agent_id] = poisoned
        return self._poisoned[agent.agent_id]

    def _send(self, trained: Trained) -> Load | None:
        if trained.agent.agent_id not in self._attackers:
            return functools.partial(self._overheard, trained.load)
        if self._attack.silent:
            return None
        if self._attack.send is None:
            return trained.load
        return functools.partial(self._made_up, self._attack.send, trained)

    def _overheard(self, load: Load) -> Factors:
        delta = load()
        self._honest.append(delta)
        return delta

    def _made_up(self, send: Callable[[Knowledge], Factors], trained: Trained) -> Factors:
        base = trained.base
        delta = send(
            Knowledge(
                trained=trained.load,
                version=base,
                base=trained.versions[base],
                before=trained.versions[base - 1] if base else None,
                honest=tuple(self._honest),
                agents=self._agents,
                attackers=len(self._attackers),
            )
        )
        return {name: tensor.bfloat16().float() for name, tensor in delta.items()}  # as it looks after the wire
