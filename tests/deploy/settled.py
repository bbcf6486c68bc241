"""Prints, as JSON, what a cluster's store and its agents' outboxes hold: run by `python -` in a container of a worker.

Standard input is this file, so it imports nothing of the tests. Needs ALIGNFED_STORE_URL, FEDERATION, and the agents'
volume at /agents.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from coordinator.backends.opening import opened_store
from coordinator.domain import VersionRecord
from coordinator.ports.store import Store

PAGE = 200
MANY = 1_000_000


async def versions_of(store: Store, federation: str) -> list[VersionRecord]:
    """Return every version, newest first."""
    found: list[VersionRecord] = []
    while page := await store.versions.list(federation, before=found[-1].id.number if found else None, limit=PAGE):
        found += page
    return found


async def settled(federation: str) -> dict[str, Any]:
    """Return versions with their deltas, the receipts of every delta ever accepted, and the agents' own books."""
    async with opened_store(os.environ["ALIGNFED_STORE_URL"]) as store:
        versions = await versions_of(store, federation)
        accepted = await store.deltas.known_ids(federation, "", limit=MANY)
        receipts = {delta_id: await store.deltas.receipt(federation, delta_id) for delta_id in accepted}
        contributions = await store.agents.contributions(federation)
    return {
        "versions": [
            {
                "number": version.id.number,
                "parent": version.parent,
                "deltas": [[delta.delta_id, delta.agent_id] for delta in version.merge.deltas] if version.merge else [],
            }
            for version in versions
        ],
        "receipts": {
            delta_id: {
                "agent": receipt.agent_id,
                "state": receipt.state.value,
                "version": receipt.version.number if receipt.version else None,
                "reason": receipt.reason,
            }
            for delta_id, receipt in receipts.items()
            if receipt is not None
        },
        "merged_by_agent": {agent: contribution.merged for agent, contribution in contributions.items()},
        "books": books(),
    }


def books() -> dict[str, Any]:
    """Return every agent's own book."""
    return {folder.parent.name: book(folder) for folder in sorted(Path("/agents").glob("*/state"))}


def book(state: Path) -> dict[str, Any]:
    """Return what an agent says of itself: totals, deltas still in its outbox, and its last rejections by reason."""
    boxes = {
        box: [json.loads(meta.read_text("utf-8"))["delta_id"] for meta in (state / "outbox" / box).glob("*/meta.json")]
        for box in ("pending", "acknowledged")
    }
    rejections = [
        (
            json.loads((folder / "meta.json").read_text("utf-8")),
            json.loads((folder / "rejection.json").read_text("utf-8")),
        )
        for folder in (state / "outbox" / "rejected").iterdir()
    ]
    refused = {meta["delta_id"]: rejection["reason"] for meta, rejection in rejections}
    return {**json.loads((state / "state.json").read_text("utf-8"))["totals"], **boxes, "last_rejections": refused}


if __name__ == "__main__":
    json.dump(asyncio.run(settled(os.environ["FEDERATION"])), sys.stdout)
