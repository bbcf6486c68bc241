"""What became of one delta, put together from its receipt, the queue, the dead letters and the version it is in."""

from __future__ import annotations

import dataclasses
import enum
import re

from alignfed.errors import RequestInvalid
from coordinator.backends import refusals
from coordinator.domain import (
    DeadLetter,
    DeltaState,
    Head,
    QueueDepth,
    QueuePlace,
    Receipt,
    VersionKind,
    VersionRecord,
    parse_delta_blob_id,
)
from coordinator.ports import Store

LEAST_PREFIX = 4
"""Characters of an id that must be given: fewer would match by chance in any federation worth asking about."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHOWN_MATCHES = 4
_ROLLBACK_PAGE = 200
_ROLLBACK_PAGES = 5
_SETTLED_MEANWHILE_TRIES = 3


class DeltaFate(enum.StrEnum):
    """What has become of a delta, more finely than its receipt tells."""

    UPLOADING = "uploading"
    QUEUED = "queued"
    CLAIMED = "claimed"
    DEAD_LETTER = "dead_letter"
    MERGED = "merged"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One delta's life so far. Times are seconds since the Unix epoch.

    `receipt` is None while it is being uploaded; `place` and `depth` are there while it is in the queue, `letter` while
    it is a dead letter, `version` once it is merged, and `abandoned_by` once a rollback has left that version behind.
    """

    delta_id: str
    agent_id: str
    fate: DeltaFate
    head: Head
    upload_begun_at: float | None = None
    receipt: Receipt | None = None
    place: QueuePlace | None = None
    depth: QueueDepth | None = None
    letter: DeadLetter | None = None
    version: VersionRecord | None = None
    abandoned_by: int | None = None


async def explain(store: Store, federation: str, wanted: str) -> Explanation:
    """Tell what became of a delta. Reads only.

    Args:
        store: Where it is looked for.
        federation: The federation it was sent to.
        wanted: Its id, or a beginning of it that no other delta shares.

    Raises:
        DeltaNotFound: It was never accepted, and is not being uploaded.
        RequestInvalid: The id is malformed, or several deltas begin like it.
        UnknownFederation: No such federation exists.
    """
    if not _ID.fullmatch(wanted) or len(wanted) < LEAST_PREFIX:
        raise RequestInvalid(
            f"{wanted[:80]!r} is not a delta's id: give the UUID from the agent's log or from a merge record, or at "
            f"least its first {LEAST_PREFIX} characters"
        )
    head = await store.versions.head(federation)
    receipt = await store.deltas.receipt(federation, wanted)
    if receipt is not None:
        return await _accepted(store, federation, receipt)
    uploading = _uploads(await store.blobs.unclaimed(federation, containing=f".{wanted}"), federation)
    known = await store.deltas.known_ids(federation, wanted, limit=_SHOWN_MATCHES + 1)
    matches = sorted({*known, *(delta_id for delta_id in uploading if delta_id.startswith(wanted))})
    if not matches:
        raise refusals.delta_unknown(wanted)
    if len(matches) > 1:
        more = " and more" if len(matches) > _SHOWN_MATCHES else ""
        raise RequestInvalid(
            f"several deltas begin with {wanted}: give more of the id ({', '.join(matches[:_SHOWN_MATCHES])}{more})"
        )
    [delta_id] = matches
    receipt = await store.deltas.receipt(federation, delta_id)
    if receipt is not None:
        return await _accepted(store, federation, receipt)
    agent_id, begun_at = uploading[delta_id]
    return Explanation(
        delta_id=delta_id, agent_id=agent_id, fate=DeltaFate.UPLOADING, head=head, upload_begun_at=begun_at
    )


async def _accepted(store: Store, federation: str, receipt: Receipt) -> Explanation:
    """Explain a delta that has a receipt; while it waits it may be settled between two reads, so look again."""
    for _ in range(_SETTLED_MEANWHILE_TRIES):
        found = await _by_receipt(store, federation, receipt)
        if found is not None:
            return found
        receipt = await store.deltas.receipt(federation, receipt.delta_id) or receipt
    head = await store.versions.head(federation)
    return Explanation(
        delta_id=receipt.delta_id, agent_id=receipt.agent_id, fate=DeltaFate.QUEUED, head=head, receipt=receipt
    )


async def _by_receipt(store: Store, federation: str, receipt: Receipt) -> Explanation | None:
    """Explain a delta by its receipt, or return None when the receipt is out of date."""
    head = await store.versions.head(federation)
    known = Explanation(
        delta_id=receipt.delta_id, agent_id=receipt.agent_id, fate=DeltaFate.REJECTED, head=head, receipt=receipt
    )
    if receipt.state is DeltaState.REJECTED:
        return known
    if receipt.state is DeltaState.MERGED:
        assert receipt.version is not None, "a merged delta's receipt names its version"
        version = await store.versions.get(federation, receipt.version.number)
        abandoned_by = await _abandoned_by(store, federation, version, head) if version.abandoned else None
        return dataclasses.replace(known, fate=DeltaFate.MERGED, version=version, abandoned_by=abandoned_by)
    place = await store.deltas.place(federation, receipt.delta_id)
    if place is not None:
        fate = DeltaFate.QUEUED if place.claimed_by is None else DeltaFate.CLAIMED
        depth = await store.deltas.depth(federation)
        return dataclasses.replace(known, fate=fate, place=place, depth=depth)
    for letter in await store.deltas.dead_letters(federation):
        if letter.delta.delta_id == receipt.delta_id:
            return dataclasses.replace(known, fate=DeltaFate.DEAD_LETTER, letter=letter)
    return None


async def _abandoned_by(store: Store, federation: str, version: VersionRecord, head: Head) -> int | None:
    """Return the rollback that left a version behind; None when it lies too many versions later to be looked for."""
    for page in range(_ROLLBACK_PAGES):
        first = version.id.number + 1 + page * _ROLLBACK_PAGE
        if first > head.id.number:
            break
        before = min(first + _ROLLBACK_PAGE, head.id.number + 1)
        later = await store.versions.list(federation, before=before, limit=before - first)
        for record in reversed(later):
            back_to = record.parent if record.kind is VersionKind.ROLLBACK else None
            if back_to is not None and back_to < version.id.number:
                return record.id.number
    return None


def _uploads(unclaimed: dict[str, float], federation: str) -> dict[str, tuple[str, float]]:
    """Return agent and begin time of each unfinished upload by delta id."""
    named = {blob_id: parse_delta_blob_id(federation, blob_id) for blob_id in unclaimed}
    return {name.delta_id: (name.agent_id, unclaimed[blob_id]) for blob_id, name in named.items() if name is not None}
