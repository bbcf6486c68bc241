"""A little is enough: colluders send the honest mean, moved against itself by a few standard deviations per coordinate.

    delta = mean - z * std * sign(mean)

Each coordinate stays within what honest deltas differ by anyhow, so no bound on norms or distances finds it.

Source: Baruch et al. 2019, "A Little Is Enough: Circumventing Defenses For Distributed Learning" (arXiv 1902.06156),
with its z, the largest at which enough honest agents are further from the mean than the attackers.

Deviates: mean and standard deviation are of the newest honest deltas, which are of several base versions, read along
rather than estimated from the attackers' own. The move is against the sign of the mean, which is what undoes training;
the paper moves every coordinate the same way. At least one standard deviation: the paper's z is 0.16 for 4 attackers
among 20 agents. At most three, where attackers are so many that they need not hide.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import torch

from alignfed.codec import Factors
from bench.poisoning.attack import Attack, Knowledge
from bench.poisoning.attacks.sign_flip import flip_sign

LEAST_DEVIATIONS, MOST_DEVIATIONS = 1.0, 3.0


def largest_deviations(agents: int, attackers: int) -> float:
    """Return z_max: with `s = floor(n / 2 + 1) - m` supporters, the quantile of `(n - m - s) / (n - m)`; 0 for none."""
    honest = agents - attackers
    supporters = math.floor(agents / 2 + 1) - attackers
    share = (honest - supporters) / honest
    if share >= 1:  # the attackers are the majority: nothing has to be hidden
        return math.inf
    return max(0.0, statistics.NormalDist().inv_cdf(share)) if share > 0 else 0.0


def move_against_mean(honest: Sequence[Mapping[str, torch.Tensor]], deviations: float) -> Factors:
    """Return `mean - z * std * sign(mean)`, coordinate by coordinate.

    Args:
        honest: Two deltas or more, of the same names and shapes.
        deviations: z, 0 or more.
    """
    moved: Factors = {}
    for name in honest[0]:
        stacked = torch.stack([delta[name] for delta in honest])
        mean = stacked.mean(dim=0)
        moved[name] = mean - deviations * stacked.std(dim=0) * mean.sign()
    return moved


def send(known: Knowledge) -> Factors:
    """Return the colluders' delta; before two honest ones were seen, the attacker's own with its sign flipped."""
    if len(known.honest) < 2:
        return flip_sign(known.trained())
    deviations = min(MOST_DEVIATIONS, max(LEAST_DEVIATIONS, largest_deviations(known.agents, known.attackers)))
    return move_against_mean(known.honest, deviations)


ATTACK = Attack(name="little-is-enough", send=send)
