"""Backup files: what is restored is what was backed up, and a file that is not whole changes nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alignfed.errors import (
    AlignFedError,
    BackupCorrupt,
    BackupForeign,
    BackupOvertaken,
    BackupTooNew,
    BackupTruncated,
    FederationExists,
    PayloadDigestMismatch,
    RequestInvalid,
    StoreCorrupt,
    StoreFull,
    UnknownFederation,
)
from alignfed.plan import Retention
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.backup.checking import opened_backup
from coordinator.backup.container import FORMAT_VERSION, ContainerWriter, as_json
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import MAX_CUTS, write_backup
from coordinator.clock import SystemClock
from coordinator.cuts import RESTORED_EPOCH_GAP, RESTORED_EPOCH_SPREAD, Restored
from coordinator.ports import Store
from tests.support.histories import all_receipts, all_versions, busy_federation
from tests.support.owners import stored_blobs, unowned
from tests.support.stores import new_plan, open_memory_store, publish, seed_federation, submit
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

QUIET = Progress(lambda _line: None, SystemClock())


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Store]:
    with EmbeddedValkey(tmp_path / "store") as server:
        store = open_store(server.url)
        yield store
        await store.close()


async def back_up(store: Store, path: Path, *names: str) -> None:
    await write_backup(store, names or await store.federations.names(), path, clock=SystemClock(), progress=QUIET)


async def restore(store: Store, path: Path, *names: str) -> list[Restored]:
    with opened_backup(path, QUIET) as backup:
        return await restore_backup(
            store, backup, names or list(backup.federations), clock=SystemClock(), progress=QUIET
        )


def files_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def payloads(store: Store, federation: str) -> dict[str, list[bytes]]:
    found = {}
    for blob_id in (await store.backups.cut(federation)).kept_until:
        parts = await store.blobs.stored_parts(blob_id, 1000)
        found[blob_id] = [await store.blobs.get_part(blob_id, index) for index in range(parts)]
    return found


async def assert_same(original: Store, copy: Store, federation: str) -> None:
    """Compare everything but the fencing token, field by field."""
    was, became = await original.backups.cut(federation), await copy.backups.cut(federation)
    gap = became.epoch - was.epoch - RESTORED_EPOCH_GAP
    assert 0 <= gap < RESTORED_EPOCH_SPREAD
    for field in dataclasses.fields(was):
        before, after = getattr(was, field.name), getattr(became, field.name)
        if field.name in ("agents", "dead"):
            before, after = sorted(before, key=str), sorted(after, key=str)
        if field.name != "epoch":
            assert after == before, field.name
    assert await all_versions(copy, federation) == await all_versions(original, federation)
    assert await all_receipts(copy, federation) == await all_receipts(original, federation)
    assert await payloads(copy, federation) == await payloads(original, federation)
    assert await copy.versions.head(federation) == await original.versions.head(federation)
    assert await copy.agents.list(federation) == await original.agents.list(federation)
    assert await copy.deltas.depth(federation) == await original.deltas.depth(federation)


async def test_what_is_restored_is_what_was_backed_up(tmp_path: Path, valkey: Store) -> None:
    memory = open_memory_store()
    names = [await busy_federation(memory), (await seed_federation(memory, agents=())).federation]
    await back_up(memory, tmp_path / "first.backup")
    await restore(valkey, tmp_path / "first.backup")
    for name in names:
        await assert_same(memory, valkey, name)
    await back_up(valkey, tmp_path / "second.backup")
    third = open_memory_store()
    await restore(third, tmp_path / "second.backup", names[0])
    await assert_same(valkey, third, names[0])
    assert await third.federations.names() == [names[0]]
    assert await unowned(valkey) == set()
    assert await unowned(third) == set()


async def test_the_file_is_a_tar_for_its_owner_alone(tmp_path: Path) -> None:
    store, path = open_memory_store(), tmp_path / "one.backup"
    name = await busy_federation(store)
    await back_up(store, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert files_in(tmp_path) == [path.name]
    with tarfile.open(path, "r:") as archive:
        members = archive.getnames()
        first = archive.extractfile(members[0])
        assert first is not None
        assert json.load(first)["format"] == "alignfed-backup"
    assert members[-1] == "manifest.json"
    assert f"{name}/receipts.jsonl" in members


async def test_a_restored_federation_is_not_overwritten(tmp_path: Path) -> None:
    store, path = open_memory_store(), tmp_path / "one.backup"
    name = await busy_federation(store)
    await back_up(store, path)
    await submit(store, name, agent_id="agent-2")
    before = await store.backups.cut(name)
    with pytest.raises(FederationExists, match="nothing is overwritten"):
        await restore(store, path)
    assert await store.backups.cut(name) == before
    with pytest.raises(RequestInvalid, match=name):
        await restore(open_memory_store(), path, "no-such-federation")


async def test_versions_published_while_payloads_are_copied_do_not_spoil_the_backup(tmp_path: Path) -> None:
    store, path = open_memory_store(), tmp_path / "one.backup"
    plan = await seed_federation(store, new_plan(retention=Retention(versions=2, delta_versions=0)))
    watched = WatchedStore(store)
    gate = watched.hold("blobs.stored_parts")
    task = asyncio.create_task(back_up(watched, path, plan.federation))  # type: ignore[arg-type]

    async def copying() -> bool:
        return watched.calls["blobs.stored_parts"] > 0

    await eventually(copying, what="the first payload is about to be copied")
    for _ in range(3):
        await publish(store, plan.federation)
    await store.blobs.sweep(plan.federation, unclaimed_before=0.0)
    gate.set()
    await task
    assert watched.calls["backups.cut"] >= 3  # the first, the question whether the payload is still needed, the second
    other = open_memory_store()
    await restore(other, path)
    await assert_same(store, other, plan.federation)


async def test_a_federation_that_never_holds_still_is_named(tmp_path: Path) -> None:
    store, path = open_memory_store(), tmp_path / "one.backup"
    plan = await seed_federation(store, new_plan(retention=Retention(versions=2, delta_versions=0)))
    watched = _PublishingStore(store, plan.federation)
    with pytest.raises(BackupOvertaken, match=f"alignfed pause {plan.federation}"):
        await back_up(watched, path, plan.federation)  # type: ignore[arg-type]
    assert watched.published == 3 * MAX_CUTS
    assert files_in(tmp_path) == []


class _PublishingStore(WatchedStore):
    """Publishes three versions and sweeps after every first look at a payload of a cut."""

    def __init__(self, inner: Store, federation: str) -> None:
        super().__init__(inner)
        self._federation = federation
        self._due = False
        self.published = 0

    async def pass_on(self, name: str, method: object, args: tuple, options: dict) -> object:  # type: ignore[type-arg]
        if name == "backups.cut":
            self._due = True
        if name == "blobs.stored_parts" and self._due:
            self._due = False
            for _ in range(3):
                await publish(self._inner, self._federation)
                self.published += 1
            await self._inner.blobs.sweep(self._federation, unclaimed_before=0.0)
        return await super().pass_on(name, method, args, options)


async def test_a_store_that_lacks_or_damaged_a_payload_gives_no_backup(tmp_path: Path) -> None:
    store = open_memory_store()
    name = await busy_federation(store)
    head = (await store.versions.head(name)).id.number
    adapter = (await store.versions.get(name, head)).adapter.blob_id
    whole = store._state.parts[adapter][0]
    store._state.parts[adapter][0] = whole[:-1] + b"\xff"
    with pytest.raises(PayloadDigestMismatch, match="damaged"):
        await back_up(store, tmp_path / "one.backup")
    del store._state.parts[adapter]
    with pytest.raises(StoreCorrupt):
        await back_up(store, tmp_path / "one.backup")
    with pytest.raises(UnknownFederation):
        await back_up(store, tmp_path / "one.backup", "no-such-federation")
    assert files_in(tmp_path) == []


@pytest.fixture
async def whole(tmp_path: Path) -> bytes:
    """The bytes of a good backup."""
    store = open_memory_store()
    await busy_federation(store)
    await back_up(store, tmp_path / "good.backup")
    return (tmp_path / "good.backup").read_bytes()


async def refusal(tmp_path: Path, content: bytes) -> AlignFedError:
    """Try to restore a file, see that nothing was changed, and return why it was refused."""
    path, store = tmp_path / "bad.backup", open_memory_store()
    path.write_bytes(content)
    with pytest.raises(AlignFedError) as refused:
        await restore(store, path)
    assert await store.federations.names() == []
    assert await stored_blobs(store) == set()
    return refused.value


async def test_a_truncated_backup_is_refused_wherever_it_ends(tmp_path: Path, whole: bytes) -> None:
    lengths = [1000, *range(1024, len(whole), max(512, len(whole) // 40)), len(whole) - 1]
    for length in lengths:
        assert isinstance(await refusal(tmp_path, whole[:length]), BackupTruncated), length


async def test_a_flipped_bit_in_any_member_or_header_is_noticed(tmp_path: Path, whole: bytes) -> None:
    with tarfile.open(tmp_path / "good.backup", "r:") as archive:
        members = [(member.offset, member.offset_data, member.size) for member in archive]
    assert len(members) > 20
    for header, data, size in members:
        for position in [header + 3, header + 130, *([data, data + size // 2, data + size - 1] if size else [])]:
            damaged = bytearray(whole)
            damaged[position] ^= 4
            error = await refusal(tmp_path, bytes(damaged))
            wanted = (BackupCorrupt, BackupForeign) if header == 0 else BackupCorrupt
            assert isinstance(error, wanted), (position, error)


async def test_what_follows_the_end_is_noticed(tmp_path: Path, whole: bytes) -> None:
    assert isinstance(await refusal(tmp_path, whole + b"x"), BackupCorrupt)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4096), b"REDIS0011" + bytes(600)], ids=repr)
async def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert isinstance(await refusal(tmp_path, content[:5000]), BackupForeign)


async def test_a_newer_format_is_refused_with_the_version_to_use(tmp_path: Path) -> None:
    with (tmp_path / "new").open("w+b") as file:
        writer = ContainerWriter(file)
        writer.write(
            "alignfed-backup.json",
            as_json({"format": "alignfed-backup", "version": FORMAT_VERSION + 1, "software": "9.9.9"}),
        )
        writer.write("something-new", b"???")
        writer.finish()
    error = await refusal(tmp_path, (tmp_path / "new").read_bytes())
    assert isinstance(error, BackupTooNew)
    assert "9.9.9" in error.message


async def test_records_that_contradict_each_other_are_refused(tmp_path: Path, whole: bytes) -> None:
    """Digests are right, as another program may make them; what they seal is not."""
    with tarfile.open(tmp_path / "good.backup", "r:") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    del members["manifest.json"]
    for name in [name for name in members if name.endswith((".jsonl", ".json", "/000000"))]:
        kept = {other: content for other, content in members.items() if other != name}
        if name != "alignfed-backup.json":
            assert isinstance(await refusal(tmp_path, _sealed(tmp_path, kept)), BackupCorrupt), name
        if name.endswith(("versions.jsonl", "receipts.jsonl", "payloads.jsonl")):
            kept[name] = b""
            assert isinstance(await refusal(tmp_path, _sealed(tmp_path, kept)), BackupCorrupt), name
        if name.endswith(".jsonl"):
            kept[name] = b'{"surprise": 1}\n'
            assert isinstance(await refusal(tmp_path, _sealed(tmp_path, kept)), BackupCorrupt), name


def _sealed(tmp_path: Path, members: dict[str, bytes]) -> bytes:
    with (tmp_path / "sealed").open("w+b") as file:
        writer = ContainerWriter(file)
        for name, content in members.items():
            writer.write(name, content)
        writer.finish()
    return (tmp_path / "sealed").read_bytes()


@pytest.mark.parametrize("point", ["blobs.put_part", "backups.stage", "backups.publish"])
async def test_a_restore_that_fails_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, whole: bytes, valkey: Store, point: str
) -> None:
    watched = WatchedStore(valkey)
    watched.failures[point] = StoreFull("the store refuses to grow: give it more memory")
    with pytest.raises(StoreFull):
        await restore(watched, tmp_path / "good.backup")  # type: ignore[arg-type]
    assert await valkey.federations.names() == []
    assert await stored_blobs(valkey) == set()
    assert await unowned(valkey) == set()
    await restore(valkey, tmp_path / "good.backup")
    assert len(await valkey.federations.names()) == 1
