"""Protocol `Objects`: files, and a bucket of a real S3 server, do the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid, StoreUnreachable
from coordinator.backends.objects.objects import Objects
from coordinator.backends.objects.opening import open_objects
from coordinator.backends.objects.place import parse_place
from tests.support.owners import stored_folders
from tests.support.s3 import S3Server, running_s3
from tests.support.stores import unique

PART = os.urandom(100_000)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture(params=["files", "s3"])
def objects_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "files":
        return (tmp_path / "payloads").as_uri()
    server: S3Server = request.getfixturevalue("s3")
    return server.new_bucket(unique("bucket"))


@pytest.fixture
async def objects(objects_url: str) -> AsyncIterator[Objects]:
    opened = open_objects(objects_url)
    yield opened
    await opened.close()


async def test_an_object_is_read_back_as_it_was_and_can_be_replaced(objects: Objects) -> None:
    assert await objects.get("blob/folder/0") is None
    await objects.put("blob/folder/0", PART)
    await objects.put("blob/folder/1", b"")
    assert await objects.get("blob/folder/0") == PART
    assert await objects.get("blob/folder/1") == b""
    await objects.put("blob/folder/0", b"again")
    assert await objects.get("blob/folder/0") == b"again"


async def test_of_several_who_put_something_new_one_does(objects: Objects) -> None:
    outcomes = await asyncio.gather(*(objects.put_new("mark", str(number).encode()) for number in range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    assert await objects.get("mark") == str(outcomes.index(True)).encode()


async def test_a_folder_goes_with_all_its_objects_and_with_no_others(objects: Objects) -> None:
    for name in ("blob/folder/0", "blob/folder/1", "blob/folder2/0", "blob2/folder/0"):
        await objects.put(name, PART)
    await objects.delete_folder("blob/folder")
    await objects.delete_folder("blob/folder")
    await objects.delete_folder("blob3/folder")
    assert [await objects.get(f"blob/folder/{index}") for index in (0, 1)] == [None, None]
    assert await objects.get("blob/folder2/0") == PART
    assert [name async for name in stored_folders(objects)] == ["blob/folder2", "blob2/folder"]


async def test_all_folders_are_paged_through_in_bounded_steps(objects: Objects) -> None:
    names = {f"{blob}/{folder}" for blob in ("a", "a-b", "a.b", "ab", "b") for folder in ("0f", "f0")}
    await objects.put("alignfed-payloads", b"id")
    for name in names:
        for index in range(3):
            await objects.put(f"{name}/{index}", b"x")
    seen: list[str] = []
    while found := await objects.folders(after=seen[-1] if seen else "", limit=4):
        assert len(found) <= 4
        seen += [folder.name for folder in found]
        assert all(folder.modified_at > 1.7e9 for folder in found)
    assert sorted(seen) == sorted(names)


async def test_deleting_and_writing_at_once_ends_with_nothing_or_with_the_object(objects: Objects) -> None:
    for _ in range(10):
        await asyncio.gather(
            *(objects.put(f"blob/folder/{index}", b"x") for index in range(4)), objects.delete_folder("blob/folder")
        )
        await objects.delete_folder("blob/folder")
        assert [name async for name in stored_folders(objects)] == []


async def test_a_bucket_that_is_not_there_is_not_taken_for_a_missing_object(s3: S3Server) -> None:
    absent = open_objects(s3.url("nobody-made-this"))
    with pytest.raises(StoreUnreachable, match="see that the bucket exists"):
        await absent.get("blob/folder/0")
    with pytest.raises(StoreUnreachable):
        await absent.put("blob/folder/0", b"x")


async def test_a_server_that_is_away_is_said_to_be() -> None:
    away = open_objects("s3://bucket/prefix?region=us-east-1&endpoint=http://127.0.0.1:9")
    with pytest.raises(StoreUnreachable, match=r"s3://bucket/prefix does not answer"):
        await away.get("blob/folder/0")


async def test_a_folder_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_bytes(b"")
    blocked = open_objects((tmp_path / "in-the-way").as_uri())
    with pytest.raises(StoreUnreachable, match="mounted, and writable"):
        await blocked.put("blob/folder/0", b"x")
    await blocked.close()


async def test_files_are_their_owners_alone_and_whole_before_they_have_their_names(tmp_path: Path) -> None:
    files = open_objects(tmp_path.as_uri())
    await files.put("blob/folder/0", PART)
    await files.close()
    folder = tmp_path / "blob" / "folder"
    assert [path.name for path in folder.iterdir()] == ["0"]
    assert (folder / "0").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/folder", "scheme 'ftp' is unknown"),
        ("file://host/folder", "file:///absolute/folder"),
        ("file:///", "file:///absolute/folder"),
        ("file:///a/../b", "goes up"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("s3://key:secret@bucket", "credentials"),
        ("s3://bucket?aws_secret_access_key=x", "no option"),
        ("gs://bucket?region=x", "gs:// has none"),
        ("s3://[bucket", "malformed"),
    ],
)
def test_urls_that_cannot_be_used_say_why(url: str, why: str) -> None:
    with pytest.raises(RequestInvalid, match=why) as refusal:
        parse_place(url)
    assert "secret" not in refusal.value.message or "aws_secret_access_key" in refusal.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a/b/?region=x&endpoint=http://h:1", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("az://container/prefix", "az://container/prefix"),
        ("file:///mnt/payloads/", "file:///mnt/payloads"),
    ],
)
def test_a_place_is_named_without_its_options(url: str, shown: str) -> None:
    assert parse_place(url).url == shown
