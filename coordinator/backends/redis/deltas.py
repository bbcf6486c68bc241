"""The queue, receipts and dead letters in Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from alignfed.errors import AlignFedError, DroppedByOperator, StoreUnreachable
from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls, unexpected
from coordinator.backends.redis.dead import dead_letter, dead_letters, settle_dead
from coordinator.backends.redis.keys import CONSUMER_GROUP, FederationKeys
from coordinator.backends.redis.records import (
    dump_dead_letter,
    dump_delta,
    dump_receipt,
    load_delta,
    load_receipt,
    rejected_outcome,
)
from coordinator.backends.redis.searches import known_ids, place
from coordinator.backends.rules import check_same_delta
from coordinator.domain import (
    DeadLetter,
    DeltaRecord,
    DeltaState,
    QueuedDelta,
    QueueDepth,
    QueuePlace,
    Receipt,
    Rejection,
)
from coordinator.ports.deltas import MAX_WAITING_KNOWN

RECLAIM_BATCH = 500
"""Deltas per step of a takeover: a few milliseconds of the server's time."""


class RedisDeltas:
    """Implements `coordinator.ports.Deltas`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def accept(self, delta: DeltaRecord) -> Receipt:
        """See the port."""
        keys = FederationKeys(delta.federation)
        base, constant_part = delta.base, dump_receipt(delta)
        status, *details = await self._calls.script(
            "accept",
            [
                keys.federation,
                keys.receipts,
                keys.outcomes,
                keys.agents,
                keys.revoked,
                keys.lineage,
                keys.queue,
                keys.queued,
                keys.unclaimed,
                keys.lifetimes,
                keys.waiting,
            ],
            [
                delta.delta_id,
                delta.agent_id,
                base.number,
                f"{base.epoch}:{base.digest}",
                delta.payload.blob_id,
                repr(delta.accepted_at),
                constant_part,
                dump_delta(delta),
            ],
            federation=delta.federation,
        )
        match status:
            case "accepted":
                return load_receipt(delta.delta_id, constant_part, None)
            case "receipt":
                first = check_same_delta(delta, load_receipt(delta.delta_id, details[0], details[1]))
                return first if first.state is DeltaState.QUEUED else await self._settled(first, delta.federation)
            case _:
                raise _refused(delta, status, details)

    async def receipt(self, federation: str, delta_id: str) -> Receipt | None:
        """See the port."""
        keys = FederationKeys(federation)
        reads = ("HGET", keys.receipts, delta_id), ("HGET", keys.outcomes, delta_id)
        receipt, outcome = await self._calls.read(federation, *reads)
        if outcome is not None and self._calls.wait_replicas:  # its agent will forget the delta: nobody could resend it
            receipt, outcome = await self._calls.read_replicated(federation, *reads)
        return None if receipt is None else load_receipt(delta_id, receipt, outcome)

    async def _settled(self, first: Receipt, federation: str) -> Receipt:
        """Return the receipt of a settled delta, which its agent may act upon."""
        receipt = await self.receipt(federation, first.delta_id)
        if receipt is None:
            raise StoreUnreachable("the store failed over and has lost the delta's receipt: send the delta again")
        return receipt

    async def known_ids(self, federation: str, prefix: str, *, limit: int) -> list[str]:
        """See the port."""
        return await known_ids(self._calls, federation, prefix, limit=limit)

    async def place(self, federation: str, delta_id: str) -> QueuePlace | None:
        """See the port."""
        return await place(self._calls, federation, delta_id)

    async def claim(self, federation: str, worker_id: str, *, limit: int) -> list[QueuedDelta]:
        """See the port. Never repeated silently: what a lost reply claimed, only `reclaim` finds."""
        keys = FederationKeys(federation)
        _, claimed = await self._calls.script(
            "claim",
            [keys.federation, keys.queue],
            [CONSUMER_GROUP, worker_id, limit],
            federation=federation,
            repeatable=False,
        )
        return _queued(claimed)

    async def reclaim(self, federation: str, worker_id: str) -> list[QueuedDelta]:
        """See the port."""
        keys = FederationKeys(federation)
        found: list[QueuedDelta] = []
        start = "0-0"
        while True:
            _, start, claimed = await self._calls.script(
                "reclaim",
                [keys.federation, keys.queue],
                [CONSUMER_GROUP, worker_id, start, RECLAIM_BATCH],
                federation=federation,
            )
            found += _queued(claimed)
            if start == "0-0":
                return found

    async def count_attempt(self, federation: str, worker_id: str, deltas: Sequence[QueuedDelta]) -> list[QueuedDelta]:
        """See the port."""
        keys = FederationKeys(federation)
        counted = [dataclasses.replace(queued, attempts=queued.attempts + 1) for queued in deltas]
        pairs = [value for queued in counted for value in (queued.entry_id, queued.attempts)]
        await self._calls.script(
            "attempt", [keys.federation, keys.queue], [CONSUMER_GROUP, worker_id, *pairs], federation=federation
        )
        return counted

    async def forgive_attempt(self, federation: str, deltas: Sequence[QueuedDelta]) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        entries = [queued.entry_id for queued in deltas]
        await self._calls.script(
            "forgive", [keys.federation, keys.queue], [CONSUMER_GROUP, *entries], federation=federation
        )

    async def reject(self, federation: str, token: int, rejections: Sequence[Rejection]) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        fives = [
            value
            for rejection in rejections
            for value in (
                rejection.queued.entry_id,
                rejection.queued.delta.delta_id,
                rejection.queued.delta.agent_id,
                rejection.queued.delta.payload.blob_id,
                rejected_outcome(rejection.reason, rejection.detail),
            )
        ]
        reply = await self._calls.script(
            "reject",
            [keys.federation, keys.queue, keys.queued, keys.outcomes, keys.rejected, keys.lifetimes, keys.settled],
            [token, CONSUMER_GROUP, *fives],
            federation=federation,
        )
        check_not_fenced(reply, token)

    async def disown(self, federation: str, token: int, deltas: Sequence[QueuedDelta], *, at: float) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        threes = [
            value
            for queued in deltas
            for value in (queued.entry_id, queued.delta.delta_id, queued.delta.payload.blob_id)
        ]
        reply = await self._calls.script(
            "disown",
            [keys.federation, keys.queue, keys.queued, keys.receipts, keys.unclaimed, keys.lifetimes],
            [token, CONSUMER_GROUP, repr(at), *threes],
            federation=federation,
        )
        check_not_fenced(reply, token)

    async def bury(self, federation: str, token: int, queued: QueuedDelta, *, detail: str, at: float) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        letter = DeadLetter(delta=queued.delta, detail=detail, buried_at=at)
        reply = await self._calls.script(
            "bury",
            [keys.federation, keys.queue, keys.queued, keys.dead],
            [token, CONSUMER_GROUP, queued.entry_id, queued.delta.delta_id, dump_dead_letter(letter)],
            federation=federation,
        )
        check_not_fenced(reply, token)

    async def dead_letters(self, federation: str) -> list[DeadLetter]:
        """See the port."""
        return await dead_letters(self._calls, federation)

    async def requeue_dead(self, federation: str, delta_id: str) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        delta = (await dead_letter(self._calls, federation, delta_id)).delta
        reply = await self._calls.script(
            "requeue",
            [keys.federation, keys.queue, keys.queued, keys.dead],
            [delta_id, repr(delta.accepted_at), dump_delta(delta)],
            federation=federation,
            repeatable=False,
        )
        if reply == ["dead_letter_unknown"]:
            raise refusals.dead_letter_unknown(delta_id)

    async def drop_dead(self, federation: str, delta_id: str) -> None:
        """See the port."""
        letter = await dead_letter(self._calls, federation, delta_id)
        if not await settle_dead(self._calls, letter, reason=DroppedByOperator.reason, detail=letter.detail):
            raise refusals.dead_letter_unknown(delta_id)

    async def depth(self, federation: str) -> QueueDepth:
        """See the port."""
        keys = FederationKeys(federation)
        queued, pending, dead, oldest = await self._calls.script(
            "depth", [keys.federation, keys.queue, keys.queued, keys.dead], [CONSUMER_GROUP], federation=federation
        )
        return QueueDepth(
            queued=queued, pending=pending, dead=dead, oldest_accepted_at=float(oldest) if oldest else None
        )

    async def waiting_of(self, federation: str, agent_id: str) -> int:
        """See the port."""
        keys = FederationKeys(federation)
        _, waiting = await self._calls.script(
            "waiting",
            [keys.federation, keys.waiting, keys.queued],
            [agent_id, MAX_WAITING_KNOWN],
            federation=federation,
        )
        return int(waiting)


def check_not_fenced(reply: list[Any], token: int) -> None:
    """Check a script's reply.

    Raises:
        Fenced: The script found a newer token.
    """
    if reply[0] == "fenced":
        raise refusals.fenced(token, newest=int(reply[1]))


def _queued(claimed: list[list[Any]]) -> list[QueuedDelta]:
    return [
        QueuedDelta(entry_id=entry_id, delta=load_delta(delta), attempts=attempts)
        for entry_id, delta, attempts in claimed
    ]


def _refused(delta: DeltaRecord, status: str, details: list[str]) -> AlignFedError:
    """Return the error for a delta that the script did not accept."""
    match status:
        case "agent_unknown":
            return refusals.agent_unknown(delta.agent_id)
        case "agent_revoked":
            return refusals.agent_revoked(delta.agent_id)
        case "base_in_future":
            return refusals.base_in_future(delta.base, head=int(details[0]))
        case "base_unknown":
            return refusals.base_unknown(delta.base)
        case "base_other_branch":
            return refusals.base_other_branch(delta.base)
        case "base_too_old":
            return refusals.base_too_old(delta.base, oldest=int(details[0]))
        case "queue_full":
            return refusals.queue_full(int(details[0]))
        case "payload_gone":
            return refusals.payload_gone(delta)
        case _:
            return unexpected("accept", status)
