"""Evidence against agents: one delta says little, several in a row say enough.

With honest agents of unlike data the cosine between a delta and the descent direction of the calibration loss is small
and its sign is often wrong: between a fifth and a third of honest deltas point uphill. Its mean is above zero all the
same, and below for an agent that turns its deltas round. A cumulative sum tells the two apart after a few deltas:

    z = cosine / (the fleet's usual size of cosines), in [-3, 3]
    suspicion <- min(2 h, max(0, suspicion - z));   a delta is rejected while its agent's suspicion is above h

An honest agent's suspicion returns to zero by itself, and a rejected agent's too once its deltas point downhill again:
nobody is banned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

LARGEST = 3.0
"""One delta is no stronger evidence than this many usual cosines."""
MEMORY_DELTAS = 64
"""Over how many deltas the usual size of cosines is averaged."""
WARM_UP_DELTAS = 8
"""Until so many were seen the usual size is uncertain, and evidence counts half."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is held against whom.

    Attributes:
        suspicion: By agent, above 0; agents that are absent have none.
        mean_square: Running mean of squared cosines, robust against large ones.
        seen: Deltas behind `mean_square`.
    """

    suspicion: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mean_square: float = 0.0
    seen: int = 0


def weighed(evidence: Evidence, agent_id: str, cosine: float, *, bound: float) -> Evidence:
    """Return the evidence after one more delta of an agent.

    Args:
        evidence: Before it.
        agent_id: Whose delta it is.
        cosine: Between the delta and the descent direction at its own base version, in [-1, 1].
        bound: Suspicion h above which deltas are rejected; above 0.

    Source: cumulative sum, Page 1954; the direction of a small trusted set as the reference: FLTrust, Cao et al. 2021
    (arXiv 2012.13995), and AFLGuard, Fang et al. 2022 (arXiv 2212.06325).

    Deviates: FLTrust and AFLGuard decide on every update by itself.
    """
    square = cosine * cosine
    usual = evidence.mean_square if evidence.seen else square
    seen = evidence.seen + 1
    usual += max(1 / MEMORY_DELTAS, 1 / seen) * (min(square, LARGEST**2 * usual) - usual)
    strength = max(-LARGEST, min(LARGEST, cosine / math.sqrt(usual))) if usual > 0 else 0.0
    if seen <= WARM_UP_DELTAS:
        strength /= 2
    level = min(2 * bound, max(0.0, evidence.suspicion.get(agent_id, 0.0) - strength))
    others = {agent: value for agent, value in evidence.suspicion.items() if agent != agent_id}
    suspicion = {**others, agent_id: level} if level > 0 else others
    return Evidence(suspicion=suspicion, mean_square=usual, seen=seen)
