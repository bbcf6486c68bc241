"""A federation at one moment, as it leaves one store and enters another: frozen values, no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from coordinator.domain import (
    AgentRecord,
    Contribution,
    DeadLetter,
    DeltaState,
    FederationRecord,
    QueuePlace,
    Receipt,
    VersionId,
    VersionRecord,
)

RESTORED_EPOCH_GAP = 1 << 20
"""How far a restored federation's fencing tokens start above those of its backup. Tokens grow by one whenever a worker
takes the lease or an operator rolls back: a store lives for years on a million of them, so none that it gave out after
the backup reaches this far."""

RESTORED_EPOCH_SPREAD = 1 << 32
"""Each restore adds a random number below this, so that two stores restored from one backup give out other tokens."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationCut:
    """All of a federation that changes, at one moment; versions and receipts, which are only added, are told by it.

    Attributes:
        record: The federation, with its pause state.
        head: The newest version.
        epoch: The newest fencing token.
        abandoned: Numbers of the versions that rollbacks have left behind.
        queue: The queue, oldest first; the claimed deltas come first.
        dead: The dead letters.
        agents: Every agent.
        contributions: What agents have contributed.
        kept_until: The payloads that something needs, with the head number from which each may be deleted; infinite for
            those that nothing has scheduled for deletion.
    """

    record: FederationRecord
    head: VersionId
    epoch: int
    abandoned: frozenset[int]
    queue: tuple[QueuePlace, ...]
    dead: tuple[DeadLetter, ...]
    agents: tuple[AgentRecord, ...]
    contributions: Mapping[str, Contribution]
    kept_until: Mapping[str, float]

    @property
    def waiting(self) -> frozenset[str]:
        """Ids of the deltas that were queued or dead letters."""
        queued = (entry.delta.delta_id for entry in self.queue)
        return frozenset([*queued, *(letter.delta.delta_id for letter in self.dead)])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """Some of a federation's records on their way into a store; queue entries come in order, over all batches.

    `settled_number` is the head's number, at which deltas that `receipts` tell to be rejected count as settled.
    """

    versions: tuple[VersionRecord, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    settled_number: int = 0
    queue: tuple[QueuePlace, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    agents: tuple[AgentRecord, ...] = ()
    contributions: Mapping[str, Contribution] = dataclasses.field(default_factory=dict)
    kept_until: Mapping[str, float] = dataclasses.field(default_factory=dict)


def settled_at(batch: RecordBatch) -> dict[str, int]:
    """Return the head's number when each delta was settled, by delta id; what waits is absent."""
    return {
        receipt.delta_id: receipt.version.number if receipt.version is not None else batch.settled_number
        for receipt in batch.receipts
        if receipt.state is not DeltaState.QUEUED
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What completes a restored federation: its record, its head's number, and the token that fences older ones."""

    record: FederationRecord
    head_number: int
    epoch: int


def receipt_at(cut: FederationCut, waiting: frozenset[str], receipt: Receipt) -> Receipt | None:
    """Return a receipt that was read after the cut as it was at the cut, or None if its delta was not accepted yet.

    A delta that waits in the cut was queued, whatever became of it since. Any other queued one was accepted after the
    cut, and so was one that is in a later version than the cut's head: without its receipt, its agent sends it again.
    A delta that was accepted and rejected since is told from one rejected before by nothing: its receipt stays, and
    says what its agent was told.

    Args:
        cut: The moment.
        waiting: `cut.waiting`, computed once for many receipts.
        receipt: As read later.
    """
    if receipt.delta_id in waiting:
        return dataclasses.replace(receipt, state=DeltaState.QUEUED, version=None, reason="", detail="")
    if receipt.state is DeltaState.QUEUED:
        return None
    if receipt.version is not None and receipt.version.number > cut.head.number:
        return None
    return receipt


def restored_epoch(epoch: int, offset: int) -> int:
    """Return the first fencing token of a restored federation.

    Args:
        epoch: The newest token in the backup.
        offset: A random number from 0 to `RESTORED_EPOCH_SPREAD`, exclusive.
    """
    return epoch + RESTORED_EPOCH_GAP + offset
