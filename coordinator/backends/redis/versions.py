"""Versions in Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Argument, Calls, unexpected
from coordinator.backends.redis.deltas import check_not_fenced
from coordinator.backends.redis.keys import CONSUMER_GROUP, HEADS_CHANNEL, FederationKeys
from coordinator.backends.redis.records import (
    dump_identity,
    dump_version,
    load_identity,
    load_version,
    merged_outcome,
)
from coordinator.backends.rules import STATE_VERSIONS, adapters_of, blobs_of, restoration, weights_of
from coordinator.domain import Commit, CommitOutcome, Head, VersionId, VersionRecord
from coordinator.ports.versions import Sign

SIGNING_TRIES = 10
"""A signed rollback names the head and epoch it follows; it is signed again when either moved in the meantime, which
takes a merge or a new lease within a millisecond or two."""


class RedisVersions:
    """Implements `coordinator.ports.Versions`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def head(self, federation: str) -> Head:
        """See the port."""
        key = FederationKeys(federation).federation
        fields = ("head", "oldest", "paused", "hold_reason")
        head, oldest, paused, reason = await self._calls.command("HMGET", key, *fields)
        if head is None:
            raise refusals.federation_unknown(federation)
        return Head(
            id=load_identity(head),
            oldest_retained=int(oldest),
            paused=paused == b"1",
            hold_reason=(reason or b"").decode(),
        )

    async def get(self, federation: str, number: int) -> VersionRecord:
        """See the port."""
        keys = FederationKeys(federation)
        body, lineage = await self._calls.read(
            federation, ("HGET", keys.versions, number), ("HGET", keys.lineage, number)
        )
        if body is None:
            raise refusals.version_unknown(number)
        return load_version(number, body, lineage)

    async def list(self, federation: str, *, before: int | None, limit: int) -> list[VersionRecord]:
        """See the port."""
        keys = FederationKeys(federation)
        above_head = (await self.head(federation)).id.number + 1
        below = above_head if before is None else min(max(before, 0), above_head)
        numbers = range(below - 1, max(0, below - limit) - 1, -1)
        if not numbers:
            return []
        bodies, lineages = await self._calls.read(
            federation, ("HMGET", keys.versions, *numbers), ("HMGET", keys.lineage, *numbers)
        )
        return [load_version(*stored) for stored in zip(numbers, bodies, lineages, strict=True)]

    async def commit(self, commit: Commit) -> CommitOutcome:
        """See the port."""
        keys = FederationKeys(commit.federation)
        reply = await self._calls.script(
            "commit",
            [
                keys.federation,
                keys.versions,
                keys.lineage,
                keys.queue,
                keys.queued,
                keys.outcomes,
                keys.merged,
                keys.weights,
                keys.unclaimed,
                keys.lifetimes,
                keys.settled,
            ],
            _commit_arguments(commit),
            federation=commit.federation,
        )
        check_not_fenced(reply, commit.token)
        match reply:
            case ["committed"]:
                return CommitOutcome.COMMITTED
            case ["already"]:
                return CommitOutcome.ALREADY
            case ["head_moved", head]:
                raise refusals.head_moved(commit.expected_head, load_identity(head))
            case ["delta_not_queued", delta_id]:
                raise refusals.delta_not_queued(delta_id)
            case ["blob_missing", blob_id]:
                raise refusals.blob_not_stored(blob_id, purpose=f"version {commit.version.id.number}")
            case _:
                raise unexpected("commit", reply)

    async def roll_back(self, federation: str, number: int, *, at: float, sign: Sign | None = None) -> Head:
        """See the port."""
        for _ in range(SIGNING_TRIES):
            reply = await self._roll_back(federation, number, at=at, sign=sign)
            match reply:
                case ["done"]:
                    return await self.head(federation)
                case ["moved"]:
                    continue
                case ["version_unknown"]:
                    raise refusals.version_unknown(number)
                case ["version_abandoned"]:
                    raise refusals.version_abandoned(number)
                case ["version_not_retained", oldest]:
                    raise refusals.version_not_retained(number, oldest=int(oldest))
                case _:
                    raise unexpected("roll_back", reply)
        raise refusals.rollback_overtaken(number)

    async def _roll_back(self, federation: str, number: int, *, at: float, sign: Sign | None) -> Sequence[Any]:
        keys = FederationKeys(federation)
        target = await self.get(federation, number)
        signed_after: tuple[Argument, Argument] = ("", "")
        # Identity and being abandoned are not part of the body: the script, which alone knows the new ones, adds them.
        # A signature needs the identity before: the script then publishes nothing but what was signed.
        restored = restoration(target, target.id, at=at)
        if sign is not None:
            head, epoch = await self._calls.command("HMGET", keys.federation, "head", "epoch")
            if head is None or epoch is None:
                raise refusals.federation_unknown(federation)
            signed_after = (head, epoch)
            identity = VersionId(epoch=int(epoch) + 1, number=load_identity(head).number + 1, digest=target.id.digest)
            restored = sign(restoration(target, identity, at=at), target)
        reply: Sequence[Any] = await self._calls.script(
            "roll_back",
            [keys.federation, keys.versions, keys.lineage, keys.lifetimes],
            [
                number,
                dump_version(restored),
                dump_version(dataclasses.replace(restored, state=None)),
                target.state.blob_id if target.state else "",
                STATE_VERSIONS,
                HEADS_CHANNEL,
                federation,
                *signed_after,
                *(blob.blob_id for blob in adapters_of(target)),
            ],
            federation=federation,
        )
        return reply


def _commit_arguments(commit: Commit) -> list[Argument]:
    """Return what `commit.lua` takes, in its order."""
    version, weights = commit.version, weights_of(commit)
    blobs = [(blob.blob_id, STATE_VERSIONS if blob is version.state else "") for blob in blobs_of(version)]
    fives = [
        value
        for queued in commit.merged
        for value in (
            queued.entry_id,
            queued.delta.delta_id,
            queued.delta.agent_id,
            repr(weights[queued.delta.delta_id]),
            queued.delta.payload.blob_id,
        )
    ]
    return [
        commit.token,
        dump_identity(commit.expected_head),
        version.id.number,
        version.id.digest,
        dump_version(version),
        merged_outcome(version.id),
        CONSUMER_GROUP,
        HEADS_CHANNEL,
        commit.federation,
        len(blobs),
        *(value for blob in blobs for value in blob),
        *fives,
    ]
