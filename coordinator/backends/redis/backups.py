"""Backups of what is in Redis, and restores into it.

A restore is built up under keys of its own, which expire, and renamed in one step: all keys of a federation share a
slot, and renaming copies nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Argument, Calls, unexpected
from coordinator.backends.redis.cut import load_cut
from coordinator.backends.redis.keys import CONSUMER_GROUP, HEADS_CHANNEL, NAMES, FederationKeys
from coordinator.backends.redis.records import (
    dump_agent,
    dump_dead_letter,
    dump_delta,
    dump_federation,
    dump_identity,
    dump_version,
    load_receipt,
    load_version,
    split_receipt,
)
from coordinator.backends.redis.searches import SCAN_BATCH
from coordinator.backends.rules import oldest_retained
from coordinator.cuts import FederationCut, RecordBatch, Restored, settled_at
from coordinator.domain import QueuePlace, Receipt, VersionKind, VersionRecord

STAGED_SECONDS = 86_400
"""How long a restore that nobody goes on with keeps its records: as long as the default plan keeps its payloads."""

STAGE_BATCH = 500
"""Pairs per script: below a millisecond of the server's time, and far below what Lua can unpack."""

_STAGED = (
    "versions",
    "queue",
    "lineage",
    "queued",
    "receipts",
    "outcomes",
    "settled",
    "dead",
    "agents",
    "registered",
    "last_seen",
    "revoked",
    "merged",
    "weights",
    "rejected",
)
"""The keys of a federation that a restore brings with it whole, by their names in `FederationKeys`."""


class RedisBackups:
    """Implements `coordinator.ports.Backups`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def cut(self, federation: str) -> FederationCut:
        """See the port."""
        keys = FederationKeys(federation)
        reply = await self._calls.script(
            "cut",
            [
                keys.federation,
                keys.lineage,
                keys.queue,
                keys.dead,
                keys.agents,
                keys.registered,
                keys.last_seen,
                keys.revoked,
                keys.merged,
                keys.weights,
                keys.rejected,
                keys.lifetimes,
            ],
            [CONSUMER_GROUP],
            federation=federation,
        )
        return load_cut(reply[1:])

    async def receipts(self, federation: str, cursor: str = "") -> tuple[Sequence[Receipt], str]:
        """See the port."""
        keys = FederationKeys(federation)
        (page,) = await self._calls.read(federation, ("HSCAN", keys.receipts, cursor or "0", "COUNT", SCAN_BATCH))
        after, found = page
        if not found:
            return [], _cursor(after)
        (outcomes,) = await self._calls.read(federation, ("HMGET", keys.outcomes, *found))
        receipts = [
            load_receipt(delta_id.decode(), receipt, outcome)
            for (delta_id, receipt), outcome in zip(found.items(), outcomes, strict=True)
        ]
        return receipts, _cursor(after)

    async def stage(self, federation: str, restore_id: str, batch: RecordBatch) -> None:
        """See the port."""
        keys = FederationKeys(federation, staging=restore_id)
        await self._calls.command("SADD", NAMES, federation)
        for key, command, values in _staging(keys, batch):
            flat: Iterable[Argument] = itertools.chain.from_iterable(values)
            while chunk := list(itertools.islice(flat, 2 * STAGE_BATCH)):
                await self._stage(keys, "stage", key, [STAGED_SECONDS, command, *chunk], federation)
        entries = map(_entry_arguments, batch.queue)
        while four := list(itertools.chain.from_iterable(itertools.islice(entries, STAGE_BATCH))):
            await self._stage(keys, "stage_queue", keys.queue, [STAGED_SECONDS, CONSUMER_GROUP, *four], federation)

    async def _stage(
        self, keys: FederationKeys, script: str, key: str, args: Sequence[Argument], federation: str
    ) -> None:
        await self._calls.script(script, [key, *vars(keys).values()], args, federation=federation)

    async def publish(self, federation: str, restore_id: str, restored: Restored) -> None:
        """See the port."""
        keys, staged = FederationKeys(federation), FederationKeys(federation, staging=restore_id)
        head = await self._staged_head(staged, restored.head_number)
        if head is None and not await self._calls.command("EXISTS", keys.federation):
            raise refusals.restore_expired(federation)
        pairs = [key for name in _STAGED for key in (getattr(staged, name), getattr(keys, name))]
        fields = [] if head is None else _fields(restored, *head)
        reply = await self._calls.script(
            "publish",
            [keys.federation, keys.unclaimed, keys.lifetimes, staged.lifetimes, *pairs],
            [restore_id, restored.head_number, CONSUMER_GROUP, HEADS_CHANNEL, federation, *fields],
            federation=federation,
        )
        match reply:
            case ["published"]:
                return
            case ["exists"]:
                raise refusals.federation_exists(federation)
            case ["incomplete"]:
                raise refusals.restore_expired(federation)
            case _:
                raise unexpected("publish", reply)

    async def discard(self, federation: str, restore_id: str) -> None:
        """See the port."""
        staged = FederationKeys(federation, staging=restore_id)
        await self._calls.command("UNLINK", *vars(staged).values())

    async def _staged_head(self, staged: FederationKeys, number: int) -> tuple[str, str] | None:
        """Return the head's `epoch:number:digest`, and the number that it restores or nothing; None when it is gone."""
        body, lineage = await self._calls.batch(
            "staged head", [("HGET", staged.versions, number), ("HGET", staged.lineage, number)]
        )
        if body is None or lineage is None:
            return None
        version = load_version(number, body, lineage)
        return dump_identity(version.id), str(version.parent) if version.kind is VersionKind.ROLLBACK else ""


def _fields(restored: Restored, head: str, restores: str) -> list[Argument]:
    """Return the fields of the federation's hash, as `create.lua` writes them."""
    plan = restored.record.plan
    values: dict[str, Argument] = {
        "record": dump_federation(restored.record),
        "paused": int(restored.record.paused),
        "epoch": restored.epoch,
        "head": head,
        "oldest": oldest_retained(restored.head_number, plan.retention),
        "restores": restores,
        "keep_versions": plan.retention.versions,
        "keep_deltas": plan.retention.delta_versions,
        "max_queue": plan.limits.max_queue_deltas,
    }
    return [item for pair in values.items() for item in pair]


Values = Iterable[Sequence[Argument]]


def _staging(keys: FederationKeys, batch: RecordBatch) -> list[tuple[str, str, Values]]:
    """Return which command adds what to which staged key, the queue itself excepted."""
    split = [(receipt.delta_id, *split_receipt(receipt)) for receipt in batch.receipts]
    shares = batch.contributions.items()
    return [
        (keys.versions, "HSET", [(version.id.number, dump_version(version)) for version in batch.versions]),
        (keys.lineage, "HSET", [(version.id.number, _lineage(version)) for version in batch.versions]),
        (keys.receipts, "HSET", [(delta_id, constant) for delta_id, constant, _ in split]),
        (keys.outcomes, "HSET", [(delta_id, outcome) for delta_id, _, outcome in split if outcome is not None]),
        (keys.settled, "ZADD", [(number, delta_id) for delta_id, number in settled_at(batch).items()]),
        (keys.queued, "ZADD", [(repr(e.delta.accepted_at), e.delta.delta_id) for e in batch.queue]),
        (keys.dead, "HSET", [(letter.delta.delta_id, dump_dead_letter(letter)) for letter in batch.dead]),
        (keys.agents, "HSET", [(agent.agent_id, dump_agent(agent)) for agent in batch.agents]),
        (keys.registered, "HSET", [(agent.agent_id, repr(agent.registered_at)) for agent in batch.agents]),
        (keys.last_seen, "HSET", [(agent.agent_id, repr(agent.last_seen_at)) for agent in batch.agents]),
        (keys.revoked, "SADD", [(agent.agent_id,) for agent in batch.agents if agent.revoked]),
        (keys.merged, "HSET", [(agent_id, share.merged) for agent_id, share in shares if share.merged]),
        (keys.weights, "HSET", [(agent_id, repr(share.weight)) for agent_id, share in shares if share.merged]),
        (keys.rejected, "HSET", [(agent_id, share.rejected) for agent_id, share in shares if share.rejected]),
        (keys.lifetimes, "ZADD", [(repr(until), blob_id) for blob_id, until in batch.kept_until.items()]),
    ]


def _lineage(version: VersionRecord) -> str:
    return f"{version.id.epoch}:{version.id.digest}:{int(version.abandoned)}"


def _entry_arguments(entry: QueuePlace) -> list[Argument]:
    """Return what `stage_queue.lua` takes per entry; deliveries count from 1."""
    return [entry.place, dump_delta(entry.delta), entry.claimed_by or "", entry.attempts + 1]


def _cursor(after: int | bytes) -> str:
    return str(int(after)) if int(after) else ""
