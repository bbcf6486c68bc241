"""How evenly something is shared: Jain's index, the Gini coefficient and the Lorenz curve. Pure functions.

The worker's metrics and the report of a local run use the same functions, so that their figures can be compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from alignfed.errors import AggregationInvalid


def jain_index(values: Iterable[float]) -> float:
    """Return Jain's fairness index `(Σx)² / (n·Σx²)`.

    Args:
        values: What each participant got, `(n,)`, any unit, zero or more; participants who got nothing count as zeros.

    Returns:
        A ratio from 1/n (one participant got everything) to 1 (all got the same). 1 when there are no participants or
        nobody got anything yet: nothing was shared unevenly.

    Raises:
        AggregationInvalid: A value is negative, NaN or infinite.

    Source: Jain, Chiu and Hawe 1984, "A quantitative measure of fairness and discrimination".
    """
    shares = _shares(values)
    if not shares:
        return 1.0
    return 1.0 / (len(shares) * math.fsum(share * share for share in shares))


def gini(values: Iterable[float]) -> float:
    """Return the Gini coefficient: half the relative mean absolute difference.

    Args:
        values: What each participant got, `(n,)`, any unit, zero or more; participants who got nothing count as zeros.

    Returns:
        A ratio from 0 (all got the same) to (n-1)/n (one participant got everything). 0 when there are no participants
        or nobody got anything yet.

    Raises:
        AggregationInvalid: A value is negative, NaN or infinite.

    Source: Gini 1912, in the sorted form `Σ (2i - n - 1)·x_i / (n·Σx)` with i from 1.
    """
    shares = _shares(values)
    n = len(shares)
    if not n:
        return 0.0
    # all shares equal sums to a rounding error around zero, which may be negative
    return max(0.0, math.fsum((2 * i - n - 1) * share for i, share in enumerate(shares, start=1)) / n)


def lorenz(values: Iterable[float]) -> list[tuple[float, float]]:
    """Return the points of the Lorenz curve, from (0, 0) to (1, 1).

    Args:
        values: What each participant got, `(n,)`, zero or more.

    Returns:
        `n + 1` points: the share of participants, poorest first, and the share of the total that they got. The diagonal
        (0, 0), (1, 1) when there are no participants or nobody got anything yet.

    Raises:
        AggregationInvalid: A value is negative, NaN or infinite.
    """
    shares = _shares(values)
    if not shares:
        return [(0.0, 0.0), (1.0, 1.0)]
    sums = list(itertools.accumulate(shares, initial=0.0))
    return [(i / len(shares), min(1.0, part)) for i, part in enumerate(sums)]


def lorenz_shares(values: Iterable[float], fractions: Sequence[float]) -> list[float]:
    """Return the share of the total that the least-served fractions of participants hold: the curve at chosen points.

    Args:
        values: What each participant got, `(n,)`, zero or more.
        fractions: Where the curve is read, each from 0 to 1, such as 0.1 for the poorest tenth.

    Returns:
        One ratio per fraction, linear between the curve's points. The fraction itself when there are no participants or
        nobody got anything yet.

    Raises:
        AggregationInvalid: A value is negative, NaN or infinite, or a fraction is not from 0 to 1.
    """
    points = lorenz(values)
    steps = len(points) - 1
    shares = []
    for fraction in fractions:
        if not 0 <= fraction <= 1:
            raise AggregationInvalid(f"a Lorenz curve is read at fractions from 0 to 1, not {fraction!r}")
        before = min(int(fraction * steps), steps - 1)
        (_, low), (_, high) = points[before], points[before + 1]
        shares.append(low + (high - low) * (fraction * steps - before))
    return shares


def _shares(values: Iterable[float]) -> list[float]:
    """Return what each got as a share of the total, ascending; empty when the total is zero.

    Sharing out first keeps every later square and product in range, whatever the unit.
    """
    ordered = sorted(values)
    for value in ordered:
        if not 0 <= value < math.inf:
            raise AggregationInvalid(f"a fairness figure needs values of zero or more, not {value!r}")
    largest = ordered[-1] if ordered else 0.0
    if largest == 0:
        return []
    scaled = [value / largest for value in ordered]
    total = math.fsum(scaled)
    return [value / total for value in scaled]
