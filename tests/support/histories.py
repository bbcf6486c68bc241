"""Whole federations: one with everything in it, and all that a store tells of one."""

from __future__ import annotations

from alignfed.plan import Retention
from coordinator.domain import Receipt, Rejection, VersionRecord
from coordinator.ports import Store
from tests.support.stores import NOW, new_plan, publish, seed_federation, submit, take_lease


async def all_receipts(store: Store, federation: str) -> dict[str, Receipt]:
    found: dict[str, Receipt] = {}
    cursor = ""
    while True:
        page, cursor = await store.backups.receipts(federation, cursor)
        found |= {receipt.delta_id: receipt for receipt in page}
        if not cursor:
            return found


async def all_versions(store: Store, federation: str) -> tuple[VersionRecord, ...]:
    return tuple(await store.versions.list(federation, before=None, limit=500))


async def busy_federation(store: Store) -> str:
    """Return a federation with everything: a branch, a revoked agent, rejected, dead, claimed and free deltas."""
    kept = new_plan(retention=Retention(delta_versions=8))
    name = (await seed_federation(store, kept, agents=("agent-1", "agent-2", "agent-3"))).federation
    await publish(store, name, with_state=True)
    await publish(store, name, agent_id="agent-2")
    await store.versions.roll_back(name, 1, at=NOW + 5)
    await store.agents.revoke(name, "agent-3")
    token = await take_lease(store, name)
    for _ in range(3):
        await submit(store, name, accepted_at=NOW + 1)
    poison, bad, tried = await store.deltas.claim(name, "worker-1", limit=3)
    await store.deltas.bury(name, token, poison, detail="poison", at=NOW + 2)
    await store.deltas.reject(name, token, [Rejection(queued=bad, reason="NON_FINITE", detail="NaN")])
    await store.deltas.count_attempt(name, "worker-1", [tried])
    await submit(store, name, agent_id="agent-2", accepted_at=NOW + 3)
    await store.federations.set_paused(name, True)
    return name
