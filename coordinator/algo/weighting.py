"""How much each delta counts before calibration: examples, freshness and fair participation."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping, Sequence

from alignfed.errors import AggregationInvalid
from coordinator.algo.values import DeltaInput

Freshness = Callable[[int], float]
"""Factor in (0, 1] by staleness in versions; never rises."""

Fairness = Callable[[str, Mapping[str, int]], float]
"""Factor by agent id and the participation counts of all agents; never rises with the agent's own count."""

SHARE_FLOOR = 0.05
"""Smallest share of participation that is believed. It caps what being rare, or being new, can gain: with b = 1/2 the
factor of an agent that never merged anything is at most 0.05^-1/2 = 4.5 times that of an average agent, so that fresh
identities are no lever for poisoning."""

NORM_EPSILON = 1e-8
"""Added to norms before they divide."""


class Denominator(enum.StrEnum):
    """What turns raw weights into coefficients."""

    TOTAL = "total"
    """The sum of the raw weights: coefficients sum to 1."""
    COUNT = "count"
    """The number of merged deltas: coefficients sum to the mean raw weight."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One delta's weighing: the factors applied, the normalised weight, and the coefficient before calibration."""

    freshness: float
    fairness: float
    weight: float
    coefficient: float


def no_discount(staleness_versions: int) -> float:  # noqa: ARG001 - a Freshness takes the staleness
    """Return 1: staleness does not count."""
    return 1.0


def polynomial(power: float) -> Freshness:
    """Return the freshness factor `(1 + staleness)^-power`; power 1/2 is `1 / sqrt(1 + staleness)`.

    Source: FedAsync, Xie et al. 2019; FedBuff, Nguyen et al. 2022.
    """
    return lambda staleness_versions: float((1.0 + staleness_versions) ** -power)


def exponential(rate: float) -> Freshness:
    """Return the freshness factor `exp(-rate * staleness)`."""
    return lambda staleness_versions: math.exp(-rate * staleness_versions)


def equal(agent_id: str, merged_by_agent: Mapping[str, int]) -> float:  # noqa: ARG001 - a Fairness takes both
    """Return 1: participation does not count."""
    return 1.0


def inverse_share(power: float) -> Fairness:
    """Return the fairness factor `share^-power` of `participation_share`; at most `SHARE_FLOOR^-power`."""
    return lambda agent_id, merged_by_agent: float(participation_share(agent_id, merged_by_agent) ** -power)


def inverse_count(power: float) -> Fairness:
    """Return the fairness factor `(n_i + 1)^-power`, n_i the deltas of the agent merged so far."""
    return lambda agent_id, merged_by_agent: float((1.0 + _count(agent_id, merged_by_agent)) ** -power)


def participation_share(agent_id: str, merged_by_agent: Mapping[str, int]) -> float:
    """Return `max(SHARE_FLOOR, N n_i / sum_j n_j)`: 1 for an agent that takes part as often as the average.

    All shares are 1 while nothing has been merged.

    Args:
        agent_id: The agent i.
        merged_by_agent: Deltas merged so far of each of the N agents, zeros included.

    Raises:
        AggregationInvalid: The agent is not among them, or a count is negative.
    """
    count = _count(agent_id, merged_by_agent)
    total = sum(merged_by_agent.values())
    if total == 0:
        return 1.0
    return max(SHARE_FLOOR, len(merged_by_agent) * count / total)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """How a recipe weighs. The raw weight is the product of all that is switched on."""

    freshness: Freshness = no_discount
    fairness: Fairness = equal
    by_examples: bool = True
    inverse_norm: bool = False
    denominator: Denominator = Denominator.TOTAL


def weigh(
    deltas: Sequence[DeltaInput], norms: Sequence[float], merged_by_agent: Mapping[str, int], weighting: Weighting
) -> tuple[Weight, ...]:
    """Weigh deltas: `W_i ∝ examples_i * freshness(tau_i) * fairness(i) / (norm_i + eps)`, normalised to sum 1.

    Args:
        deltas: The buffer.
        norms: Frobenius norm of each delta; used only by `inverse_norm`.
        merged_by_agent: Deltas merged so far of every agent.
        weighting: Which factors count, and what divides.

    Returns:
        One weight per delta, in the order of `deltas`.

    Raises:
        AggregationInvalid: The total is zero or not finite, a count of examples is negative, or an agent is unknown.
    """
    factors = [
        (weighting.freshness(delta.staleness_versions), weighting.fairness(delta.agent_id, merged_by_agent))
        for delta in deltas
    ]
    raw = []
    for delta, norm, (freshness, fairness) in zip(deltas, norms, factors, strict=True):
        examples = _checked_examples(delta) if weighting.by_examples else 1
        raw.append(examples * freshness * fairness / ((norm + NORM_EPSILON) if weighting.inverse_norm else 1.0))
    total = math.fsum(raw)
    if not 0 < total < math.inf:
        raise AggregationInvalid(
            f"the weights of {len(raw)} deltas sum to {total}: at least one delta must count, "
            "so look at their examples, staleness and norms"
        )
    divisor = total if weighting.denominator is Denominator.TOTAL else float(len(raw))
    return tuple(
        Weight(freshness=freshness, fairness=fairness, weight=value / total, coefficient=value / divisor)
        for value, (freshness, fairness) in zip(raw, factors, strict=True)
    )


def _checked_examples(delta: DeltaInput) -> int:
    if delta.examples < 0:
        raise AggregationInvalid(f"delta {delta.delta_id} claims {delta.examples} examples: it takes zero or more")
    return delta.examples


def _count(agent_id: str, merged_by_agent: Mapping[str, int]) -> int:
    if agent_id not in merged_by_agent:
        raise AggregationInvalid(
            f"agent {agent_id} has a delta in the buffer but no participation count: count every registered agent "
            "and reject the deltas of revoked ones"
        )
    count = merged_by_agent[agent_id]
    if count < 0:
        raise AggregationInvalid(f"agent {agent_id} has a participation count of {count}: it takes zero or more")
    return count
