"""How often an agent may take part: pure arithmetic on the plan's settings.

An agent's privacy loss is that of the merges it took part in: `n` Gaussian mechanisms in a row, each chosen after
seeing what the earlier ones published, with noise multiplier z. Nothing else of it is in any version. No amplification
is claimed, neither by sampling (agents choose when to come) nor by staying away.
"""

from __future__ import annotations

from alignfed.errors import PlanInvalid
from alignfed.privacy.central import CentralPrivacy
from alignfed.privacy.loss import gaussian_epsilon

MOST_PARTICIPATIONS = 1_000_000


def epsilon_after(participations: int, privacy: CentralPrivacy) -> float:
    """Return the privacy loss of an agent that took part in so many merges, at the plan's delta."""
    return gaussian_epsilon(noise_multiplier=privacy.noise_multiplier, times=participations, delta=privacy.delta)


def participations_allowed(privacy: CentralPrivacy) -> int:
    """Return in how many merges one agent may take part.

    Raises:
        PlanInvalid: Not even in one, or not in as many as the plan says it may.
    """
    wanted = privacy.max_participations
    if epsilon_after(wanted or 1, privacy) > privacy.max_epsilon:
        cost = epsilon_after(wanted or 1, privacy)
        raise PlanInvalid(
            f"taking part {wanted or 1} times costs an epsilon of {cost:.3g} at delta {privacy.delta:g}, and "
            f"privacy.max_epsilon is {privacy.max_epsilon:g}: raise privacy.noise_multiplier or privacy.max_epsilon"
            + (", or lower privacy.max_participations" if wanted > 1 else "")
        )
    if wanted:
        return wanted
    low, high = 1, 2
    while high <= MOST_PARTICIPATIONS and epsilon_after(high, privacy) <= privacy.max_epsilon:
        low, high = high, 2 * high
    high = min(high, MOST_PARTICIPATIONS + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if epsilon_after(middle, privacy) <= privacy.max_epsilon else (low, middle)
    return low
