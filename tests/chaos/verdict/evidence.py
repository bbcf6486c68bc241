"""Gathering what the oracle judges: the store's receipts and merge records, the senders' journals and outboxes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from alignfed.errors import StoreCorrupt, VersionNotFound
from coordinator.backends.urls import open_store
from coordinator.domain import DeltaState, Receipt, VersionKind, VersionRecord
from coordinator.ports import Store
from coordinator.worker.replay import replay_version
from tests.chaos.harness.journals import ACKNOWLEDGED, read_events
from tests.chaos.verdict.oracle import Evidence, MergedVersion, Settled
from tests.support.owners import search_for_orphans, unowned

PAGE = 50
DERIVED_OTHERWISE = "another adapter"


def gather(
    store_url: str,
    federation: str,
    *,
    agents: Iterable[Path],
    journals: Iterable[Path] = (),
    derive_every: int = 1,
    blob_url: str = "",
) -> Evidence:
    """Read everything; nothing may run any more.

    Args:
        store_url: The store.
        federation: Whose deltas.
        agents: State directories of agents with a witnessed outbox.
        journals: Journals of senders.
        blob_url: Where payloads are, if outside the store.
        derive_every: Derive every so many versions again, the newest first; 0 for none.
    """
    acknowledged: set[str] = set()
    sent: set[str] = set()
    unsent: set[str] = set()
    directories = list(agents)
    for journal in [*journals, *(directory / "events.log" for directory in directories)]:
        events = read_events(journal)
        acknowledged |= events.get(ACKNOWLEDGED, {}).keys()
        sent |= {delta_id for ids in events.values() for delta_id in ids}
    for directory in directories:
        acknowledged |= _held(directory / "outbox" / "acknowledged")
        unsent |= _held(directory / "outbox" / "pending")
    stored = asyncio.run(_read(store_url, blob_url, federation, derive_every))
    return dataclasses.replace(
        stored,
        acknowledged=frozenset(acknowledged),
        sent=frozenset(sent | acknowledged | unsent),
        unsent=frozenset(unsent),
    )


def _held(folder: Path) -> set[str]:
    """Return the ids of the deltas in one of an outbox's folders."""
    return {json.loads(meta.read_text("utf-8"))["delta_id"] for meta in folder.glob("*/meta.json")}


async def _read(url: str, blob_url: str, federation: str, derive_every: int) -> Evidence:
    """Return what the store says; senders are not asked."""
    store = open_store(url, blob_url=blob_url)
    try:
        await search_for_orphans(store)
        receipts = await _receipts(store, federation)
        merges = [record for record in await versions_of(store, federation) if record.kind is VersionKind.MERGE]
        versions = []
        for index, record in enumerate(merges):
            assert record.merge is not None
            look = derive_every and index % derive_every == 0
            versions.append(
                MergedVersion(
                    number=record.id.number,
                    delta_ids=tuple(delta.delta_id for delta in record.merge.deltas),
                    digest=record.id.digest,
                    derived=await _derived(store, federation, record) if look else None,
                )
            )
        contributions = await store.agents.contributions(federation)
        return Evidence(
            acknowledged=frozenset(),
            sent=frozenset(),
            receipts=receipts,
            versions=tuple(versions),
            dead=frozenset(letter.delta.delta_id for letter in await store.deltas.dead_letters(federation)),
            counted=sum(found.merged for found in contributions.values()),
            unowned=frozenset(await unowned(store)),
        )
    finally:
        await store.close()


async def _receipts(store: Store, federation: str) -> dict[str, Settled]:
    found: dict[str, Settled] = {}
    cursor = ""
    while True:
        page: Sequence[Receipt]
        page, cursor = await store.backups.receipts(federation, cursor)
        for receipt in page:
            merged = receipt.state is DeltaState.MERGED and receipt.version is not None
            found[receipt.delta_id] = Settled(
                state=receipt.state.value,
                version=receipt.version.number if merged and receipt.version is not None else None,
                reason=receipt.reason,
            )
        if not cursor:
            return found


async def versions_of(store: Store, federation: str) -> list[VersionRecord]:
    """Return all versions, the newest first."""
    found: list[VersionRecord] = []
    before: int | None = None
    while page := await store.versions.list(federation, before=before, limit=PAGE):
        found += page
        before = page[-1].id.number
    return found


async def _derived(store: Store, federation: str, record: VersionRecord) -> str | None:
    """Return the digest that a version's record gives again; None when what it takes is not retained any more."""
    try:
        return (await replay_version(store, federation, record.id.number)).id.digest
    except VersionNotFound:
        return None
    except StoreCorrupt as error:
        return f"{DERIVED_OTHERWISE} ({error.message})"
