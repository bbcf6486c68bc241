"""What became of every delta that was acknowledged, from the merge records and the receipts. Pure arithmetic."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bench.fleet.settings import Tier
from coordinator.fairness import gini, jain_index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergedOne:
    """One delta in one version: what a merge record says of it."""

    delta_id: str
    agent_id: str
    version: int
    staleness_versions: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How the acknowledged deltas add up: `lost` are nowhere, `doubled` are in more than one version.

    `unanswered` were sent without an answer and may have been accepted: they count for nothing but `doubled`.
    """

    acknowledged: int
    merged: int
    rejected: int
    queued: int
    lost: int
    doubled: int
    unanswered: int


def missing_from(acknowledged: Iterable[str], merged: Sequence[MergedOne]) -> list[str]:
    """Return the acknowledged deltas that no merge record names: their receipts are to be asked for."""
    known = {one.delta_id for one in merged}
    return [delta_id for delta_id in acknowledged if delta_id not in known]


def account_of(
    acknowledged: Sequence[str], merged: Sequence[MergedOne], fates: Mapping[str, str], *, unanswered: int
) -> Account:
    """Add up what became of the acknowledged deltas.

    Args:
        acknowledged: Their ids.
        merged: Every delta of every version, also of agents that were not answered.
        fates: State in the receipt of each that no record names, by name of the contract; empty for no receipt.
        unanswered: Deltas that were sent without an answer.
    """
    mine = set(acknowledged)
    times = Counter(one.delta_id for one in merged if one.delta_id in mine)
    states = Counter(fates.get(delta_id, "") for delta_id in missing_from(mine, merged))
    return Account(
        acknowledged=len(mine),
        merged=len(times) + states["DELTA_STATE_MERGED"],
        rejected=states["DELTA_STATE_REJECTED"],
        queued=states["DELTA_STATE_QUEUED"],
        lost=states[""],
        doubled=sum(1 for count in Counter(one.delta_id for one in merged).values() if count > 1),
        unanswered=unanswered,
    )


def total_of(accounts: Iterable[Account]) -> Account:
    """Return the account of several federations together."""
    parts = [dataclasses.astuple(account) for account in accounts]
    names = [field.name for field in dataclasses.fields(Account)]
    return Account(**{name: sum(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How evenly merges are shared among some agents; Jain's index is 1 and Gini's coefficient 0 when all got the same.

    `merged_share` is these agents' part of all merges, `agent_share` their part of the fleet.
    """

    agents: int
    agent_share: float
    merged: int
    merged_share: float
    jain: float
    gini: float


def sharing(tier_of: Mapping[str, str], merged: Sequence[MergedOne], tiers: Sequence[Tier]) -> dict[str, Sharing]:
    """Return how merges are shared over the whole fleet (`all`) and within each tier.

    Args:
        tier_of: Name of each agent's tier; agents whose deltas were never merged count as zeros.
        merged: Every delta of every version.
        tiers: The fleet's.
    """
    per_agent = Counter(one.agent_id for one in merged if one.agent_id in tier_of)
    total = sum(per_agent.values())
    groups = {"all": list(tier_of)} | {
        tier.name: [agent for agent, name in tier_of.items() if name == tier.name] for tier in tiers
    }
    found = {}
    for name, agents in groups.items():
        merges = [per_agent[agent] for agent in agents]
        found[name] = Sharing(
            agents=len(agents),
            agent_share=len(agents) / max(len(tier_of), 1),
            merged=sum(merges),
            merged_share=sum(merges) / max(total, 1),
            jain=jain_index(merges),
            gini=gini(merges),
        )
    return found


def staleness_of(merged: Iterable[MergedOne]) -> dict[int, int]:
    """Return how many merged deltas had each staleness, in versions, ascending."""
    return dict(sorted(Counter(one.staleness_versions for one in merged).items()))
