"""The judge: what was acknowledged against what the store holds in the end. Pure: it sees evidence, not processes.

Everything that was acknowledged must be merged exactly once, or be rejected with a reason, or lie among the dead
letters. Everything that is merged must have been sent. What receipts and merge records say must agree, and every
version must be what its record makes of its parent and its deltas. The store keeps nothing that has no owner.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergedVersion:
    """A version that came of a merge: its number, the ids in its record, in order, and the digest of its identity.

    `derived` is the digest that its parent and deltas give by its record; None where that was not looked at.
    """

    number: int
    delta_ids: tuple[str, ...]
    digest: str
    derived: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a receipt says: `state` is queued, merged (into `version`) or rejected (for `reason`)."""

    state: str
    version: int | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is left when the dust has settled.

    Attributes:
        acknowledged: Ids that senders were told of as durable, from their journals and outboxes.
        sent: Ids that senders may have sent; those acknowledged, and more.
        receipts: By id, of every delta that is known to the store.
        versions: Those that came of merges, abandoned ones too.
        dead: Ids of dead letters.
        unsent: Ids still waiting in an outbox to be uploaded: nothing was promised for them.
        counted: How many merged deltas the store counts, by agent, in all.
        unowned: Keys of the store that nothing owns, so that nothing would ever let go of them.
    """

    acknowledged: frozenset[str]
    sent: frozenset[str]
    receipts: Mapping[str, Settled]
    versions: tuple[MergedVersion, ...]
    dead: frozenset[str] = frozenset()
    unsent: frozenset[str] = frozenset()
    counted: int | None = None
    unowned: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures and, in `faults`, every way in which a promise was broken: one line each, empty if none was.

    `lost` are acknowledged deltas without any trace, `doubled` those merged more than once.
    """

    acknowledged: int
    merged: int
    rejected: int
    dead: int
    versions: int
    derived: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults


def judge(evidence: Evidence) -> Verdict:
    """Hold the evidence against the promises."""
    times = Counter(delta_id for version in evidence.versions for delta_id in version.delta_ids)
    by_state = {
        state: {delta_id for delta_id, settled in evidence.receipts.items() if settled.state == state}
        for state in ("queued", "merged", "rejected")
    }
    reasoned = {delta_id for delta_id in by_state["rejected"] if evidence.receipts[delta_id].reason}
    lost = evidence.acknowledged - times.keys() - reasoned - evidence.dead
    doubled = {delta_id for delta_id, count in times.items() if count > 1}
    doubled |= times.keys() & (by_state["rejected"] | evidence.dead)
    faults = [
        *_named("acknowledged and neither merged, rejected with a reason, nor dead", lost),
        *_named("merged more than once, or merged and settled otherwise too", doubled),
        *_named("merged but never sent", times.keys() - evidence.sent),
        *_named("rejected without a reason", by_state["rejected"] - reasoned),
        *_named("still queued and not dead", by_state["queued"] - evidence.dead),
        *_named("dead without a receipt", evidence.dead - by_state["queued"]),
        *_named("in no merge record though its receipt says merged", by_state["merged"] - times.keys()),
        *_named("in a merge record though its receipt says otherwise", times.keys() - by_state["merged"]),
        *_named("in another version than its receipt says", _misplaced(evidence)),
        *_named("in an outbox, waiting to be sent", evidence.unsent),
        *_wrong_digests(evidence),
    ]
    if evidence.counted is not None and evidence.counted != times.total():
        faults.append(f"the store counts {evidence.counted} merged deltas, its merge records hold {times.total()}")
    if evidence.unowned:
        faults.append(
            f"{len(evidence.unowned)} keys belong to nothing, such as {', '.join(sorted(evidence.unowned)[:5])}"
        )
    return Verdict(
        acknowledged=len(evidence.acknowledged),
        merged=len(times),
        rejected=len(by_state["rejected"]),
        dead=len(evidence.dead),
        versions=len(evidence.versions),
        derived=sum(version.derived is not None for version in evidence.versions),
        lost=tuple(sorted(lost)),
        doubled=tuple(sorted(doubled)),
        faults=tuple(faults),
    )


def _misplaced(evidence: Evidence) -> set[str]:
    return {
        delta_id
        for version in evidence.versions
        for delta_id in version.delta_ids
        if delta_id in evidence.receipts and evidence.receipts[delta_id].version not in (None, version.number)
    }


def _wrong_digests(evidence: Evidence) -> list[str]:
    return [
        f"version {version.number} is {version.digest[:12]}, derived again it is {version.derived[:12]}"
        for version in evidence.versions
        if version.derived is not None and version.derived != version.digest
    ]


def _named(what: str, ids: set[str] | frozenset[str]) -> list[str]:
    """Return one line that counts ids and names a few, or none."""
    shown = sorted(ids)[:5]
    return [f"{len(ids)} deltas are {what}, such as {', '.join(shown)}"] if ids else []
