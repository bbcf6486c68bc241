"""Federations in Redis."""

from __future__ import annotations

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls, unexpected
from coordinator.backends.redis.keys import CONSUMER_GROUP, HEADS_CHANNEL, NAMES, FederationKeys
from coordinator.backends.redis.records import dump_federation, dump_version, load_federation
from coordinator.backends.rules import WHILE_NEEDED, kept_until
from coordinator.domain import FederationRecord, VersionRecord


class RedisFederations:
    """Implements `coordinator.ports.Federations`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, record: FederationRecord, initial: VersionRecord) -> None:
        """See the port."""
        plan = record.plan
        name, keys = plan.federation, FederationKeys(plan.federation)
        until = kept_until(initial, plan.retention)
        if record.calibration is not None:
            until[record.calibration.blob_id] = WHILE_NEEDED
        # The name comes first: a crash after it leaves a name without a federation, which names() passes over.
        await self._calls.command("SADD", NAMES, name)
        status, *details = await self._calls.script(
            "create",
            [keys.federation, keys.versions, keys.lineage, keys.queue, keys.unclaimed, keys.lifetimes],
            [
                name,
                dump_federation(record),
                int(record.paused),
                dump_version(initial),
                initial.id.epoch,
                initial.id.digest,
                plan.retention.versions,
                plan.retention.delta_versions,
                plan.limits.max_queue_deltas,
                CONSUMER_GROUP,
                HEADS_CHANNEL,
                *(value for blob_id, number in until.items() for value in (blob_id, number)),
            ],
            federation=name,
        )
        match status:
            case "created":
                return
            case "exists":
                raise refusals.federation_exists(name)
            case "blob_missing":
                raise refusals.blob_not_stored(details[0], purpose=f"federation {name!r}")
            case _:
                raise unexpected("create", status)

    async def get(self, federation: str) -> FederationRecord:
        """See the port."""
        record, paused = await self._calls.command("HMGET", FederationKeys(federation).federation, "record", "paused")
        if record is None:
            raise refusals.federation_unknown(federation)
        return load_federation(record, paused=paused == b"1")

    async def names(self) -> list[str]:
        """See the port."""
        return [name for name, created in await known_names(self._calls) if created]

    async def set_paused(self, federation: str, paused: bool, *, reason: str = "") -> None:
        """See the port."""
        await self._calls.script(
            "pause",
            [FederationKeys(federation).federation],
            [federation, int(paused), HEADS_CHANNEL, reason if paused else ""],
            federation=federation,
        )


async def known_names(calls: Calls) -> list[tuple[str, bool]]:
    """Return every name ever used, sorted, and whether its federation was created."""
    names = sorted(name.decode() for name in await calls.command("SMEMBERS", NAMES))
    if not names:
        return []
    exist = await calls.batch("names", [("EXISTS", FederationKeys(name).federation) for name in names])
    return [(name, bool(exists)) for name, exists in zip(names, exist, strict=True)]
