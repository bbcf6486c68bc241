"""Payloads outside Redis: what crashes, rivals, latecomers and wrong settings can and cannot do to them."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from alignfed.errors import StoreCorrupt, StoreUnreachable, StoreUnsafe, UploadStalled
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.objects.claim import MARK
from coordinator.backends.objects.files import FileObjects
from coordinator.backends.objects.objects import Objects, StoredFolder
from coordinator.backends.objects.orphans import sweep_orphans
from coordinator.backends.redis.address import parse_address
from coordinator.backends.redis.keys import PAYLOADS_PLACE, blob_key
from coordinator.backends.redis.parts import FOLDER_FIELD
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from tests.support.owners import stored_folders, unowned_folders
from tests.support.stores import NOW, PART_BYTES, has_blob, new_delta, seed_federation, store_blob, submit, unique

FOREVER = float("inf")


class Disturbed:
    """Real files, with something that happens in the middle of a call of a test's choice."""

    def __init__(self, inner: FileObjects) -> None:
        self.place = inner.place
        self._inner = inner
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.after: dict[str, Callable[[], Awaitable[None]]] = {}

    async def _around(self, name: str, *arguments: Any, **options: Any) -> Any:
        if (disturbance := self.before.pop(name, None)) is not None:
            await disturbance()
        answer = await getattr(self._inner, name)(*arguments, **options)
        if (disturbance := self.after.pop(name, None)) is not None:
            await disturbance()
        return answer

    async def put(self, name: str, data: bytes) -> None:
        await self._around("put", name, data)

    async def put_new(self, name: str, data: bytes) -> bool:
        return bool(await self._around("put_new", name, data))

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._around("get", name)
        return found

    async def delete_folder(self, folder: str) -> None:
        await self._around("delete_folder", folder)

    async def folders(self, *, after: str, limit: int) -> Sequence[StoredFolder]:
        found: Sequence[StoredFolder] = await self._around("folders", after=after, limit=limit)
        return found

    async def close(self) -> None:
        await self._inner.close()


class Killed(BaseException):
    """The process is gone in the middle of a call."""


async def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture
def objects(blob_folder: Path) -> Disturbed:
    return Disturbed(FileObjects(blob_folder))


@pytest.fixture
async def store(server_url: str, objects: Objects) -> AsyncIterator[RedisStore]:
    """A store whose Redis and folder hold nothing but what this test puts there."""
    opened = RedisStore(parse_address(server_url), objects=objects)
    await opened._calls.command("FLUSHALL")
    yield opened
    await opened.close()


@pytest.fixture
def blob_folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
async def federation(store: RedisStore) -> str:
    return (await seed_federation(store)).federation


async def folders(objects: Objects) -> set[str]:
    return {name async for name in stored_folders(objects)}


async def test_redis_holds_notes_and_the_folder_holds_the_bytes(
    store: RedisStore, federation: str, objects: Disturbed
) -> None:
    blob = await store_blob(store, federation)
    record = await store._calls.command("HGETALL", blob_key(blob.blob_id))
    folder = record.pop(FOLDER_FIELD.encode()).decode()
    assert set(record) == {b"0", b"1"}
    assert max(len(note) for note in record.values()) < 20
    assert await objects.get(f"{blob.blob_id}/{folder}/0") == await store.blobs.get_part(blob.blob_id, 0)
    assert not (await store.memory()).holds_payloads
    assert objects.place in (await store.inspect())[0].software


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_process_killed_at_a_part_is_gone_on_with_from_that_part(
    store: RedisStore, federation: str, objects: Disturbed, moment: str
) -> None:
    blob_id = unique("blob")
    await store.blobs.begin(federation, blob_id, at=NOW)
    await store.blobs.put_part(blob_id, 0, b"first")
    getattr(objects, moment)["put"] = kill
    with pytest.raises(Killed):
        await store.blobs.put_part(blob_id, 1, b"second")
    assert await store.blobs.stored_parts(blob_id, 2) == 1

    await store.blobs.put_part(blob_id, 1, b"second")
    assert [await store.blobs.get_part(blob_id, index) for index in (0, 1)] == [b"first", b"second"]


async def test_an_upload_that_is_never_finished_leaves_nothing_not_even_a_part_without_a_note(
    store: RedisStore, federation: str, objects: Disturbed
) -> None:
    before, blob_id = await folders(objects), unique("blob")
    await store.blobs.begin(federation, blob_id, at=NOW)
    objects.after["put"] = kill
    with pytest.raises(Killed):
        await store.blobs.put_part(blob_id, 0, b"x")
    assert len(await folders(objects) - before) == 1
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1) == 1
    assert await folders(objects) == before


async def test_a_part_that_arrives_after_its_payload_was_deleted_leaves_nothing(
    store: RedisStore, federation: str, objects: Disturbed
) -> None:
    blob = await store_blob(store, federation)
    before = await folders(objects)

    async def deleted() -> None:
        await store.blobs.delete(federation, blob.blob_id)

    objects.before["put"] = deleted
    with pytest.raises(UploadStalled, match="again from the start"):
        await store.blobs.put_part(blob.blob_id, 1, b"late")
    assert {name.partition("/")[0] for name in before - await folders(objects)} == {blob.blob_id}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_deletion_that_is_killed_is_completed_by_the_next_sweep(
    store: RedisStore, federation: str, objects: Disturbed, moment: str
) -> None:
    delta = await new_delta(store, federation)
    getattr(objects, moment)["delete_folder"] = kill
    with pytest.raises(Killed):
        await store.blobs.sweep(federation, unclaimed_before=NOW + 1)
    with pytest.raises(UploadStalled):  # whatever is left of it, nothing can adopt it any more
        await store.deltas.accept(delta)
    with pytest.raises(UploadStalled, match="is being deleted"):
        await store.blobs.begin(federation, delta.payload.blob_id, at=NOW)

    assert await store.blobs.sweep(federation, unclaimed_before=NOW) == 1
    assert delta.payload.blob_id not in {name.partition("/")[0] for name in await folders(objects)}
    await store_blob(store, federation, blob_id=delta.payload.blob_id)


async def test_a_deletion_that_comes_late_spares_the_payload_that_was_begun_anew(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str
) -> None:
    blob = await store_blob(store, federation)
    rival = RedisStore(parse_address(server_url), objects=FileObjects(Path(objects.place.removeprefix("file://"))))

    async def overtaken() -> None:
        assert await rival.blobs.sweep(federation, unclaimed_before=NOW + 1) == 1
        await store_blob(rival, federation, blob_id=blob.blob_id)

    objects.before["delete_folder"] = overtaken
    await store.blobs.delete(federation, blob.blob_id)
    assert await has_blob(store, blob)
    assert [len(await store.blobs.get_part(blob.blob_id, index)) for index in (0, 1)] == [PART_BYTES, 100]
    await rival.close()


async def test_a_sweep_that_comes_late_spares_the_delta_that_was_accepted_meanwhile(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str
) -> None:
    delta = await new_delta(store, federation)
    rival = RedisStore(parse_address(server_url), objects=FileObjects(Path(objects.place.removeprefix("file://"))))

    async def overtaken() -> None:
        assert await rival.blobs.sweep(federation, unclaimed_before=NOW + 1) == 1
        await store_blob(rival, federation, blob_id=delta.payload.blob_id)
        await rival.deltas.accept(delta)

    objects.before["delete_folder"] = overtaken
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1) == 0
    assert await has_blob(store, delta.payload)
    assert await store.blobs.sweep(federation, unclaimed_before=FOREVER) == 0
    assert await has_blob(store, delta.payload)
    await rival.close()


async def test_what_no_record_points_to_is_found_step_by_step_once_it_is_old_enough(
    store: RedisStore, federation: str, objects: Disturbed
) -> None:
    blobs = [await store_blob(store, federation, b"x") for _ in range(3)]
    owned = await folders(objects)
    for number in range(5):
        await objects.put(f"orphan-{number}/abc/0", b"x")
        await objects.put(f"{blobs[0].blob_id}/{number}/0", b"of an earlier life")

    async def step(before: float) -> int:
        return await sweep_orphans(store._calls, objects, before=before, turn_seconds=0)

    assert await step(time.time() - 60) == 0
    assert len(await unowned_folders(store)) == 10
    assert [await step(FOREVER) for _ in range(3)] == [0, 10, 0]  # the end of a round, a round, its end
    assert await folders(objects) == owned
    assert all([await has_blob(store, blob) for blob in blobs])


async def test_the_sweep_looks_for_orphans_at_most_once_a_minute_over_all_processes(
    store: RedisStore, federation: str, objects: Disturbed
) -> None:
    await objects.put("orphan/abc/0", b"x")
    await store.blobs.sweep(federation, unclaimed_before=NOW)
    assert "orphan/abc" in await folders(objects)  # younger than unfinished uploads may be
    await store.blobs.sweep(federation, unclaimed_before=FOREVER)
    assert "orphan/abc" in await folders(objects)
    await store._calls.command("HDEL", PAYLOADS_PLACE, "turn", "after")
    await store.blobs.sweep("nobody", unclaimed_before=FOREVER)
    assert "orphan/abc" not in await folders(objects)


async def test_a_redis_that_was_emptied_takes_no_payload_with_it(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str
) -> None:
    await submit(store, federation)
    before = await folders(objects)
    await store._calls.command("FLUSHALL")
    await store.blobs.sweep(federation, unclaimed_before=FOREVER)
    assert await folders(objects) == before

    fresh = open_store(server_url, blob_url=objects.place)
    with pytest.raises(StoreUnsafe, match="payloads of another store, or of this one before it was emptied"):
        await fresh.check()
    with pytest.raises(StoreUnreachable, match="of another store"):
        await fresh.blobs.begin(federation, unique("blob"), at=NOW)
    assert await folders(objects) == before
    await asyncio.to_thread(shutil.rmtree, objects.place.removeprefix("file://"))
    await fresh.close()


@pytest.mark.parametrize("harm", ["lost", "damaged", "shortened"])
async def test_a_part_that_was_lost_is_said_to_be_and_can_be_sent_again(
    store: RedisStore, federation: str, objects: Disturbed, harm: str
) -> None:
    blob = await store_blob(store, federation)
    whole = await store.blobs.get_part(blob.blob_id, 1)
    folder = (await store._calls.command("HGET", blob_key(blob.blob_id), FOLDER_FIELD)).decode()
    name = f"{blob.blob_id}/{folder}/1"
    if harm == "lost":
        (Path(objects.place.removeprefix("file://")) / name).unlink()
    else:
        await objects.put(name, whole[:-1] if harm == "shortened" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreCorrupt, match="part 1"):
        await store.blobs.get_part(blob.blob_id, 1)
    assert await store.blobs.stored_parts(blob.blob_id, blob.parts) == 1
    await store.blobs.put_part(blob.blob_id, 1, whole)
    assert await has_blob(store, blob)
    assert await store.blobs.get_part(blob.blob_id, 1) == whole


async def test_processes_that_were_told_of_another_place_refuse_to_start(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str, tmp_path: Path
) -> None:
    await store.check()
    for blob_url, why in (
        ("", f"kept in {objects.place}: give --blob-url"),
        ((tmp_path / "elsewhere").as_uri(), f"kept in {objects.place}, and .*elsewhere has no object {MARK}"),
    ):
        mistaken = open_store(server_url, blob_url=blob_url)
        with pytest.raises(StoreUnsafe, match=why):
            await mistaken.check()
        with pytest.raises((StoreUnreachable, UploadStalled)):
            blob = await store_blob(store, federation)
            await mistaken.blobs.begin(federation, unique("blob"), at=NOW)
            await mistaken.blobs.get_part(blob.blob_id, 0)
        await mistaken.close()
    assert not (tmp_path / "elsewhere").exists()


async def test_payloads_may_move_with_their_mark(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str, tmp_path: Path
) -> None:
    blob = await store_blob(store, federation)
    old = Path(objects.place.removeprefix("file://"))
    await asyncio.to_thread(old.rename, tmp_path / "moved")
    with pytest.raises(StoreUnsafe, match=f"has no object {MARK}"):  # as of a disk that is not mounted
        await store.check()
    moved = open_store(server_url, blob_url=(tmp_path / "moved").as_uri())
    await moved.check()
    assert await moved.blobs.get_part(blob.blob_id, 0)
    await store_blob(moved, federation)
    assert (await store._calls.command("HGET", PAYLOADS_PLACE, "place")).decode().endswith("moved")
    await moved.close()
    await asyncio.to_thread((tmp_path / "moved").rename, old)


async def test_payloads_that_were_stored_in_redis_are_read_and_completed_there(
    store: RedisStore, federation: str, objects: Disturbed, server_url: str
) -> None:
    await store._calls.command("DEL", PAYLOADS_PLACE)  # as before anything was outside
    plain = open_store(server_url)
    await plain.check()
    blob_id = unique("blob")
    await plain.blobs.begin(federation, blob_id, at=NOW)
    await plain.blobs.put_part(blob_id, 0, b"in redis")
    await plain.close()

    before = await folders(objects)
    await store.blobs.begin(federation, blob_id, at=NOW)
    await store.blobs.put_part(blob_id, 1, b"too")
    assert [await store.blobs.get_part(blob_id, index) for index in (0, 1)] == [b"in redis", b"too"]
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1) == 1
    assert await folders(objects) == before


async def test_many_uploads_at_once_keep_apart(store: RedisStore, federation: str) -> None:
    async def one(number: int) -> bool:
        payload = bytes([number]) * (3 * PART_BYTES)
        blob = await store_blob(store, federation, payload)
        found = [await store.blobs.get_part(blob.blob_id, index) for index in range(3)]
        return b"".join(found) == payload

    assert all(await asyncio.gather(*(one(number) for number in range(40))))


async def test_one_payload_is_adopted_and_freed_as_in_redis(store: RedisStore, federation: str) -> None:
    delta = await submit(store, federation)
    assert await store.blobs.sweep(federation, unclaimed_before=FOREVER) == 0
    assert await has_blob(store, delta.payload)
    with pytest.raises(UploadStalled):
        await store.deltas.accept(dataclasses.replace(delta, delta_id=unique("delta")))
