"""Letting go of records in Redis, a few at a time, by scripts that also run when the store is full."""

from __future__ import annotations

from collections.abc import Sequence

from alignfed.errors import DeadLetterExpired
from alignfed.plan import Retention
from coordinator.backends import refusals
from coordinator.backends.redis.calls import Argument, Calls
from coordinator.backends.redis.dead import dead_letters, settle_dead
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.records import dump_version, load_identity, load_version
from coordinator.retention import (
    Trimmed,
    expired_letters,
    first_whole_record,
    forgotten_agents,
    receipts_kept,
    trimmed,
)

TRIM_BATCH = 200
"""Records per script: below a millisecond of the server's time."""


class RedisUpkeep:
    """Implements `coordinator.ports.Upkeep`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def trim(self, federation: str, retention: Retention, *, at: float) -> Trimmed:
        """See the port."""
        return Trimmed(
            dead_letters=await self._expire_letters(federation, retention, at),
            receipts=await self._forget_receipts(federation, retention),
            records=await self._trim_records(federation, retention),
            agents=await self._forget_agents(federation, retention, at),
        )

    async def _expire_letters(self, federation: str, retention: Retention, at: float) -> int:
        letters = await dead_letters(self._calls, federation)
        expired = expired_letters(letters, retention, at=at)
        gone = [
            await settle_dead(
                self._calls,
                letter,
                reason=DeadLetterExpired.reason,
                detail=f"{expired[letter.delta.delta_id]}: {letter.detail}",
            )
            for letter in letters
            if letter.delta.delta_id in expired
        ]
        return sum(gone)

    async def _forget_receipts(self, federation: str, retention: Retention) -> int:
        keys = FederationKeys(federation)
        forgotten = 0
        while True:
            _, count = await self._calls.script(
                "forget_receipts",
                [keys.federation, keys.settled, keys.receipts, keys.outcomes],
                [receipts_kept(retention), TRIM_BATCH],
                federation=federation,
            )
            forgotten += int(count)
            if count < TRIM_BATCH:
                return forgotten

    async def _trim_records(self, federation: str, retention: Retention) -> int:
        keys = FederationKeys(federation)
        head, done = await self._calls.command("HMGET", keys.federation, "head", "trimmed")
        if head is None:
            raise refusals.federation_unknown(federation)
        below, count = first_whole_record(load_identity(head).number, retention), 0
        for start in range(int(done or 0), below, TRIM_BATCH):
            numbers = range(start, min(start + TRIM_BATCH, below))
            shorter = await self._shorter(federation, numbers)
            await self._calls.script(
                "trim_records",
                [keys.federation, keys.versions],
                [numbers.stop, *shorter],
                federation=federation,
            )
            count += len(shorter) // 2
        return count

    async def _shorter(self, federation: str, numbers: Sequence[int]) -> list[Argument]:
        """Return number and new body of each version whose merge record has something to let go of."""
        keys = FederationKeys(federation)
        bodies, lineages = await self._calls.read(
            federation, ("HMGET", keys.versions, *numbers), ("HMGET", keys.lineage, *numbers)
        )
        versions = [load_version(*stored) for stored in zip(numbers, bodies, lineages, strict=True)]
        pairs = [(version.id.number, trimmed(version)) for version in versions if trimmed(version) is not version]
        return [value for number, version in pairs for value in (number, dump_version(version))]

    async def _forget_agents(self, federation: str, retention: Retention, at: float) -> int:
        keys = FederationKeys(federation)
        seen, merged, rejected, revoked = await self._calls.read(
            federation,
            ("HGETALL", keys.last_seen),
            ("HKEYS", keys.merged),
            ("HKEYS", keys.rejected),
            ("SMEMBERS", keys.revoked),
        )
        last_seen = dict.fromkeys([*merged, *rejected], 0.0) | {agent: float(when) for agent, when in seen.items()}
        known = {agent.decode(): when for agent, when in last_seen.items() if agent not in revoked}
        forgotten = sorted(forgotten_agents(known, retention, at=at))
        count = 0
        for start in range(0, len(forgotten), TRIM_BATCH):
            _, gone = await self._calls.script(
                "forget_agents",
                [
                    keys.federation,
                    keys.last_seen,
                    keys.revoked,
                    keys.waiting,
                    keys.agents,
                    keys.registered,
                    keys.merged,
                    keys.weights,
                    keys.rejected,
                ],
                [repr(at - retention.agent_seconds), *forgotten[start : start + TRIM_BATCH]],
                federation=federation,
            )
            count += gone
        return count
