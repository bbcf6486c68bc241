"""Multi-Krum: the mean of the deltas that have close neighbours.

With n deltas of which f may be hostile, `n >= 2 f + 3`, a delta's score is the sum of the squared distances to its
`n - f - 2` closest ones; the `n - f` of the lowest scores are averaged. f is the largest that n allows.

Source: Blanchard, El Mhamdi, Guerraoui, Stainer 2017 (NeurIPS), Multi-Krum.

Deviates: f follows from n. In fewer than five deltas f is 0, and all are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from alignfed.codec import Factors
from coordinator.algo.factors import inner
from coordinator.algo.merge.cohorts import Robust

SMALLEST = 5


def choose_close_ones(deltas: Sequence[Factors]) -> list[float]:
    """Return each delta's share of the mean: `1 / (n - f)` for those that are chosen, 0 for the others."""
    n = len(deltas)
    hostile = max(0, (n - 3) // 2)
    if hostile == 0:
        return [1.0 / n] * n
    scores = _scores(deltas, closest=n - hostile - 2)
    chosen = sorted(range(n), key=lambda i: (scores[i], i))[: n - hostile]
    return [1.0 / len(chosen) if i in chosen else 0.0 for i in range(n)]


def _scores(deltas: Sequence[Factors], *, closest: int) -> list[float]:
    products = [[inner(left, right) for right in deltas[: i + 1]] for i, left in enumerate(deltas)]

    def squared_distance(i: int, j: int) -> float:
        return products[i][i] + products[j][j] - 2 * products[max(i, j)][min(i, j)]

    distances = [[squared_distance(i, j) for j in range(len(deltas)) if j != i] for i in range(len(deltas))]
    return [math.fsum(sorted(row)[:closest]) for row in distances]


MULTI_KRUM = Robust(name="multi-krum", smallest=SMALLEST, choose=choose_close_ones)
