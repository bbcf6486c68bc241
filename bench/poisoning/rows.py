"""The table's rows: each attack, share, placement and defence over its seeds, against clean runs. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from bench.poisoning.outcome import Fates, Outcome, Placement, Trial, clean_trial, together


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Relative change of the held-out loss against the clean run of the same seed: median and range over seeds.

    0.02 is two percent worse. Infinite where a run has no finite loss.
    """

    median: float
    least: float
    most: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attack, share, placement and defence; ratios are over the deltas of all its seeds, None where there are none.

    Attributes:
        attack, share, placement, defence: What was run; a clean run has the attack `honest`.
        seeds: How many have finished together with their clean run.
        loss: Against the clean run of the reference defence, so that what a defence costs counts too.
        worst_domain: The same for the loss of the worst domain.
        backdoor_by_loss, backdoor_greedy: Success of the backdoor, median over seeds.
        attackers_rejected: Share of the attackers' deltas that were rejected.
        attackers_weight: The attackers' share of all coefficients that deltas were merged with.
        fresh_rejected, stale_rejected: Shares of honest deltas that were rejected, for whatever reason.
        fates: What became of deltas, by `fresh`, `stale` and `attackers`.
        guard_share: Part of the merge time that went into looking at deltas beforehand.
    """

    attack: str
    share: float
    placement: Placement
    defence: str
    seeds: int
    loss: Change
    worst_domain: Change
    backdoor_by_loss: float
    backdoor_greedy: float
    attackers_rejected: float | None
    attackers_weight: float | None
    fresh_rejected: float | None
    stale_rejected: float | None
    fates: Mapping[str, Fates]
    guard_share: float | None


def make_rows(outcomes: Sequence[Outcome], reference: str) -> tuple[Row, ...]:
    """Return the rows in order of attack, share, placement and defence as they come; without clean run no row.

    Args:
        outcomes: Finished trials, each once.
        reference: The defence whose clean runs all are compared with.
    """
    by_trial = {outcome.trial: outcome for outcome in outcomes}
    groups: dict[Trial, list[Outcome]] = {}
    for outcome in outcomes:
        if clean_trial(reference, outcome.trial.seed) in by_trial:
            groups.setdefault(dataclasses.replace(outcome.trial, seed=0), []).append(outcome)
    return tuple(
        _row(which, runs, [by_trial[clean_trial(reference, run.trial.seed)] for run in runs])
        for which, runs in groups.items()
    )


def _row(which: Trial, runs: Sequence[Outcome], clean: Sequence[Outcome]) -> Row:
    fates = {
        "fresh": together([run.fresh for run in runs]),
        "stale": together([run.stale for run in runs]),
        "attackers": together([run.attackers for run in runs]),
    }
    coefficients = math.fsum(each.coefficient for each in fates.values())
    seconds = math.fsum(run.merge_seconds for run in runs)
    return Row(
        attack=which.attack,
        share=which.share,
        placement=which.placement,
        defence=which.defence,
        seeds=len(runs),
        loss=_change([(a.served.mean_test, b.served.mean_test) for a, b in zip(runs, clean, strict=True)]),
        worst_domain=_change([(a.served.worst_test, b.served.worst_test) for a, b in zip(runs, clean, strict=True)]),
        backdoor_by_loss=statistics.median(run.backdoor_by_loss for run in runs),
        backdoor_greedy=statistics.median(run.backdoor_greedy for run in runs),
        attackers_rejected=_rejected(fates["attackers"]),
        attackers_weight=fates["attackers"].coefficient / coefficients if coefficients and not which.clean else None,
        fresh_rejected=_rejected(fates["fresh"]),
        stale_rejected=_rejected(fates["stale"]),
        fates=fates,
        guard_share=math.fsum(run.guard_seconds for run in runs) / seconds if seconds else None,
    )


def _change(pairs: Sequence[tuple[float, float]]) -> Change:
    changes = [loss / clean - 1 if math.isfinite(loss) else math.inf for loss, clean in pairs]
    return Change(median=statistics.median(changes), least=min(changes), most=max(changes))


def _rejected(fates: Fates) -> float | None:
    return fates.rejections / fates.settled if fates.settled else None
