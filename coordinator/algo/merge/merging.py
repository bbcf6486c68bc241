"""The merge: `theta' = theta + eta * sum_i c_i D_i`, with one accumulator and a few deltas in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from alignfed.codec import Factors
from coordinator.algo.merge.summing import plus_scaled
from coordinator.algo.values import Load


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One delta in a merge: what it is multiplied by, and how it is loaded."""

    coefficient: float
    load: Load


def merge(head: Factors, terms: Iterable[Term], *, server_learning_rate: float) -> Factors:
    """Return `head + server_learning_rate * sum of coefficient * delta`, added in the order of `terms`.

    The same terms in the same order give the same bits: a version is re-derived from its record this way. Memory and
    error bound are those of `plus_scaled`.

    Args:
        head: Factors of the current global version; left as they are.
        terms: Deltas aligned to the head, each loaded once.
        server_learning_rate: Step size eta.

    Raises:
        ManifestMismatch: A delta's tensor names or shapes differ from the head's.

    Source: AlignFed, equation (8); FedBuff, Nguyen et al. 2022, Alg. 1.
    """
    return plus_scaled(head, ((server_learning_rate * term.coefficient, term.load) for term in terms))
