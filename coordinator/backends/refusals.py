"""The errors that every backend raises, worded once, so that backends differ in nothing but where they keep things."""

from __future__ import annotations

from alignfed.errors import (
    AgentRevoked,
    BackupOvertaken,
    BaseVersionInFuture,
    BaseVersionOtherBranch,
    BaseVersionTooOld,
    BaseVersionUnknown,
    DeadLetterNotFound,
    DeltaIdConflict,
    DeltaNotFound,
    FederationExists,
    Fenced,
    HeadMoved,
    QueueFull,
    StoreCorrupt,
    StoreUnreachable,
    UnknownAgent,
    UnknownFederation,
    UploadStalled,
    VersionNotFound,
)
from coordinator.domain import DeltaRecord, Receipt, VersionId


def describe(version: VersionId) -> str:
    """Return a version identity as people read it, such as `version 7 (epoch 3, 1f2e3d4c)`."""
    return f"version {version.number} (epoch {version.epoch}, {version.digest[:8]})"


def federation_unknown(federation: str) -> UnknownFederation:
    """Return the error for a federation that was never created."""
    return UnknownFederation(f"there is no federation named {federation!r}: create it first", federation=federation)


def federation_exists(federation: str) -> FederationExists:
    """Return the error for a name that is taken."""
    return FederationExists(f"a federation named {federation!r} exists already: choose another name")


def restore_expired(federation: str) -> BackupOvertaken:
    """Return the error for a restore whose staged records or payloads are not all there."""
    return BackupOvertaken(
        f"the restore of {federation!r} is not complete in the store: its records wait for a day, its payloads for as "
        "long as an unfinished upload. Restore again, from closer to the store"
    )


def agent_unknown(agent_id: str) -> UnknownAgent:
    """Return the error for an agent that never registered."""
    return UnknownAgent(f"agent {agent_id!r} has not registered with this federation: call RegisterAgent first")


def agent_revoked(agent_id: str) -> AgentRevoked:
    """Return the error for an agent that an operator has revoked."""
    return AgentRevoked(f"agent {agent_id!r} was revoked by an operator: ask for a new identity")


def base_in_future(base: VersionId, *, head: int) -> BaseVersionInFuture:
    """Return the error for a base version above the head."""
    return BaseVersionInFuture(
        f"the delta's base is {describe(base)} but the head is version {head}: "
        "the coordinator's store was set back; pull the head and train from it",
        head=head,
    )


def base_unknown(base: VersionId) -> BaseVersionUnknown:
    """Return the error for a base version that never existed."""
    return BaseVersionUnknown(f"the delta's base, {describe(base)}, never existed: pull the head and train from it")


def base_other_branch(base: VersionId) -> BaseVersionOtherBranch:
    """Return the error for a base version that a rollback abandoned, or of another history."""
    return BaseVersionOtherBranch(
        f"the delta's base, {describe(base)}, is not on the federation's branch any more "
        "(it was rolled back): pull the head and train from it"
    )


def base_too_old(base: VersionId, *, oldest: int) -> BaseVersionTooOld:
    """Return the error for a base version whose adapter is gone."""
    return BaseVersionTooOld(
        f"the delta's base, {describe(base)}, is older than version {oldest}, the oldest that is kept: "
        "pull the head and train from it",
        oldest_retained=oldest,
    )


def queue_full(limit: int) -> QueueFull:
    """Return the error for a queue without room."""
    return QueueFull(f"{limit} deltas wait to be merged, the most that the plan allows: send the delta again later")


def payload_gone(delta: DeltaRecord) -> UploadStalled:
    """Return the error for a payload that expired before its delta was accepted."""
    return UploadStalled(f"the payload of delta {delta.delta_id!r} expired before it was complete: upload it again")


def blob_expiring(blob_id: str) -> UploadStalled:
    """Return the error for a payload that is being deleted while somebody starts to store it again."""
    return UploadStalled(f"an earlier upload of payload {blob_id!r} expired and is being deleted: retry in a minute")


def blob_gone(blob_id: str) -> UploadStalled:
    """Return the error for a part of a payload that was never begun, or was deleted since."""
    return UploadStalled(
        f"payload {blob_id!r} was deleted while it arrived: it took longer than limits.upload_lifetime_seconds, or "
        "another upload of it failed. Upload it again from the start"
    )


def blob_not_stored(blob_id: str, *, purpose: str) -> StoreCorrupt:
    """Return the error for an adoption of a blob that was never begun, or swept since."""
    return StoreCorrupt(
        f"{purpose} names payload {blob_id!r}, which is not stored any more: store it again, then retry"
    )


def part_missing(blob_id: str, index: int) -> StoreCorrupt:
    """Return the error for a part that is not there."""
    return StoreCorrupt(
        f"part {index} of payload {blob_id!r} is not in the store: it was deleted, or the store lost data; "
        "see whether its persistence is on"
    )


def payload_elsewhere(blob_id: str) -> StoreUnreachable:
    """Return the error for a payload in an object store, of a process that was not told of one."""
    return StoreUnreachable(
        f"payload {blob_id!r} is kept outside the store: start this process with the --blob-url of the others"
    )


def delta_conflict(delta: DeltaRecord, receipt: Receipt) -> DeltaIdConflict:
    """Return the error for a delta id that was used for something else."""
    what = "by another agent" if receipt.agent_id != delta.agent_id else "for other content"
    return DeltaIdConflict(f"delta id {delta.delta_id!r} was used {what}: give every delta an id of its own")


def fenced(token: int, *, newest: int) -> Fenced:
    """Return the error for a fencing token that is not the newest."""
    return Fenced(
        f"fencing token {token} was superseded by {newest}: another worker took over or an operator rolled back; "
        "drop this merge and take the lease again",
        newest=newest,
    )


def head_moved(expected: VersionId, found: VersionId) -> HeadMoved:
    """Return the error for a commit that starts from another head."""
    return HeadMoved(f"the merge started from {describe(expected)} but the head is {describe(found)}: merge again")


def delta_not_queued(delta_id: str) -> HeadMoved:
    """Return the error for a commit of a delta that is settled, buried or not claimed."""
    return HeadMoved(f"delta {delta_id!r} is not claimed and queued any more: reclaim the queue and merge again")


def rollback_overtaken(number: int) -> HeadMoved:
    """Return the error for a rollback that could not be signed before the next version was published."""
    return HeadMoved(f"the head moved each time the rollback to version {number} was signed: try again")


def version_unknown(number: int) -> VersionNotFound:
    """Return the error for a version that does not exist."""
    return VersionNotFound(f"there is no version {number}: list the versions and choose one of them")


def version_abandoned(number: int) -> VersionNotFound:
    """Return the error for a rollback to a version that an earlier rollback left behind."""
    return VersionNotFound(f"version {number} was abandoned by an earlier rollback: choose one that was not")


def version_not_retained(number: int, *, oldest: int) -> VersionNotFound:
    """Return the error for a rollback to a version whose adapter is gone."""
    return VersionNotFound(f"the adapter of version {number} is no longer kept: choose version {oldest} or newer")


def delta_unknown(delta_id: str) -> DeltaNotFound:
    """Return the error for a delta that has no receipt and is not being uploaded."""
    return DeltaNotFound(
        f"no delta {delta_id!r} was ever accepted here, and none is being uploaded. Receipts are kept until "
        "retention.receipt_versions versions were published since, so if it is not that old, look into the agent's log "
        "and outbox: a delta that is refused while it is sent leaves no receipt, one that "
        "waits there has not been sent. Check the id and the federation too, and that this is the store the agent's "
        "coordinator uses"
    )


def dead_letter_unknown(delta_id: str) -> DeadLetterNotFound:
    """Return the error for a dead letter that does not exist."""
    return DeadLetterNotFound(f"no dead letter has delta id {delta_id!r}: list the dead letters")
